"""IPO against its paper's formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.objectives import IPO
from tests import oracles
from tests.objectives import assert_equals, assert_gradient, means, scores_of, whole_pairs
from tests.oracles import TokenPair

PAIRS = [
    TokenPair([], [-1.0, -0.2], [-0.7], reference=(-1.5, -0.5)),
    TokenPair([], [-0.3], [-2.0, -1.0], weight=3.0, reference=(-0.2, -4.0)),
]


def oracle(beta: float) -> oracles.Oracle:
    return lambda pairs: oracles.ipo_loss(pairs, beta)


@given(st.lists(whole_pairs, min_size=1, max_size=4), st.floats(0.05, 1))
def test_loss_equals_the_paper(pairs: list[TokenPair], beta: float) -> None:
    assert_equals(IPO(beta), oracle(beta), pairs)


def test_gradient_equals_finite_differences_of_the_oracle() -> None:
    assert_gradient(IPO(0.3), oracle(0.3), PAIRS)


def test_the_loss_is_zero_where_the_margin_is_on_target() -> None:
    pair = TokenPair([], [-1.0, -1.0], [-3.0], reference=(-3.0, -2.5))  # averages differ by 0.5 + 0.5
    assert IPO(0.5)(*scores_of([pair])).loss.item() == pytest.approx(0.0)


def test_rewards_are_the_log_ratios_per_token_that_the_loss_compares() -> None:
    found = means(IPO(0.5)(*scores_of(PAIRS[:1])))
    assert found["rewards/chosen"].item() == pytest.approx(0.5 * (-1.2 + 1.5) / 2)
    assert found["rewards/rejected"].item() == pytest.approx(0.5 * (-0.7 + 0.5))


def test_a_longer_response_is_not_worse_for_its_length() -> None:
    """Both have fallen by a half per token, and the chosen one by a little less."""
    pair = TokenPair([], [-1.4] * 10, [-1.5], reference=(-10.0, -1.0))
    assert means(IPO(0.1)(*scores_of([pair])))["rewards/accuracies"].item() == 1.0
