"""DPO against its paper's formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.objectives import DPO
from tests import oracles
from tests.objectives import assert_equals, assert_gradient, means, scores_of, whole_pairs
from tests.oracles import TokenPair

PAIRS = [
    TokenPair([], [-1.0, -0.2], [-0.7], reference=(-1.5, -0.5)),
    TokenPair([], [-0.3], [-2.0, -1.0], weight=3.0, reference=(-0.2, -4.0)),
]


def oracle(beta: float, epsilon: float) -> oracles.Oracle:
    return lambda pairs: oracles.dpo_loss(pairs, beta, epsilon)


@given(st.lists(whole_pairs, min_size=1, max_size=4), st.floats(0.01, 1), st.floats(0, 0.5))
def test_loss_equals_the_paper(pairs: list[TokenPair], beta: float, epsilon: float) -> None:
    assert_equals(DPO(beta, epsilon), oracle(beta, epsilon), pairs)


@pytest.mark.parametrize("epsilon", [0.0, 0.2])
def test_gradient_equals_finite_differences_of_the_oracle(epsilon: float) -> None:
    assert_gradient(DPO(0.3, epsilon), oracle(0.3, epsilon), PAIRS)


def test_at_the_reference_the_loss_is_log_2_and_there_is_no_margin() -> None:
    pair = TokenPair([], [-1.0, -0.5], [-0.25], reference=(-1.5, -0.25))
    output = DPO(0.1)(*scores_of([pair]))
    assert output.loss.item() == pytest.approx(0.6931471805599453)
    assert means(output)["rewards/margins"].item() == 0.0


def test_rewards_are_scaled_log_ratios() -> None:
    found = means(DPO(0.5)(*scores_of(PAIRS[:1])))
    assert found["rewards/chosen"].item() == pytest.approx(0.5 * (-1.2 + 1.5))
    assert found["rewards/rejected"].item() == pytest.approx(0.5 * (-0.7 + 0.5))
    assert found["rewards/accuracies"].item() == 1.0
    assert found["logps/accuracies"].item() == 1.0
