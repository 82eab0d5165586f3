"""KTO against its paper's formula."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.objectives import KTO
from tests import oracles
from tests.objectives import (
    assert_equals,
    assert_gradient,
    means,
    references,
    responses,
    scores_of,
    weights,
    whole_pairs,
)
from tests.oracles import TokenPair

rows = st.one_of(
    whole_pairs,
    st.builds(TokenPair, st.just([]), responses, st.just([]), weight=weights, reference=references),
    st.builds(TokenPair, st.just([]), st.just([]), responses, weight=weights, reference=references),
)
ROWS = [
    TokenPair([], [-1.0, -0.2], [], reference=(-1.5, 0.0)),
    TokenPair([], [], [-2.0, -1.0], weight=3.0, reference=(0.0, -4.0)),
    TokenPair([], [-0.3], [-0.4], reference=(-0.1, -0.5)),
]


def oracle(beta: float, divergence: float, desirable: float, undesirable: float) -> oracles.Oracle:
    return lambda pairs: oracles.kto_loss(pairs, beta, divergence, desirable, undesirable)


@given(
    st.lists(rows, min_size=1, max_size=4),
    st.floats(0.01, 1),
    st.floats(0, 5),
    st.floats(0.5, 2),
    st.floats(0.5, 2),
)
def test_loss_equals_the_paper(
    pairs: list[TokenPair], beta: float, divergence: float, desirable: float, undesirable: float
) -> None:
    expected = oracle(beta, divergence, desirable, undesirable)
    assert_equals(KTO(beta, desirable, undesirable), expected, pairs, divergence)


def test_gradient_equals_finite_differences_of_the_oracle() -> None:
    assert_gradient(KTO(0.3, 1.5, 0.75), oracle(0.3, 0.8, 1.5, 0.75), ROWS, 0.8)


def test_each_side_has_means_of_its_own() -> None:
    found = means(KTO(0.5)(*scores_of(ROWS, divergence=2.0)))
    assert found["rewards/chosen"].item() == pytest.approx(0.5 * ((-1.2 + 1.5) + (-0.3 + 0.1)) / 2)
    assert found["rewards/rejected"].item() == pytest.approx(0.5 * (3 * (-3.0 + 4.0) + (-0.4 + 0.5)) / 4)
    assert found["rewards/margins"].item() == pytest.approx(0.5 * ((-0.3 + 0.1) - (-0.4 + 0.5)))
    assert found["kl"].item() == 2.0
