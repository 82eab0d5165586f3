"""SimPO against its paper's formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.objectives import SimPO
from tests import oracles
from tests.objectives import assert_equals, assert_gradient, means, scores_of, whole_pairs
from tests.oracles import TokenPair

PAIRS = [TokenPair([], [-1.0, -0.2], [-0.7]), TokenPair([], [-0.3], [-2.0, -1.0], weight=3.0)]


def oracle(beta: float, ratio: float) -> oracles.Oracle:
    return lambda pairs: oracles.simpo_loss(pairs, beta, beta * ratio)


@given(st.lists(whole_pairs, min_size=1, max_size=4), st.floats(0.1, 10), st.floats(0, 2))
def test_loss_equals_the_paper(pairs: list[TokenPair], beta: float, ratio: float) -> None:
    assert_equals(SimPO(beta, ratio), oracle(beta, ratio), pairs)


def test_gradient_equals_finite_differences_of_the_oracle() -> None:
    assert_gradient(SimPO(2.5, 0.4), oracle(2.5, 0.4), PAIRS)


def test_rewards_are_scaled_averages_and_the_prompt_has_no_part() -> None:
    output = SimPO(2.0, 0.5)(*scores_of(PAIRS[:1]))
    assert means(output)["rewards/chosen"].item() == pytest.approx(-1.2)
    assert means(output)["rewards/margins"].item() == pytest.approx(0.2)
