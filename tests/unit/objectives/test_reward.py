"""The reward model's loss against its papers' formulas."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orpo.batch import Scores, Totals
from orpo.objectives import RewardModel
from tests.objectives import STEP, means, scores_of
from tests.oracles import Real, TokenPair, mpf, reward_loss, sigmoid

values = st.floats(-40, 40)
rewards = st.lists(
    st.tuples(values, values, st.sampled_from([0.125, 1.0, 3.0]), st.floats(-3, 3)), min_size=1, max_size=5
)

Judged = tuple[float, float, float, float]
"""Rewards of the chosen and the rejected response of a pair, its weight and its margin."""

PAIRS: list[Judged] = [(1.5, 0.25, 1.0, 0.0), (-2.0, 0.5, 3.0, 1.25), (0.125, -6.0, 0.5, -0.5)]


def given_values(pairs: list[Judged]) -> tuple[Scores, Totals]:
    """What the objective is given: no log-probabilities, and values with a gradient."""
    scores, totals = scores_of([TokenPair([], [0.0], [0.0, 0.0], weight=weight) for _, _, weight, _ in pairs])
    both = torch.tensor([pair[:2] for pair in pairs], dtype=torch.float64).T.requires_grad_()
    margin = torch.tensor([pair[3] for pair in pairs], dtype=torch.float64)
    return replace(scores, values=both, margin=margin), totals


@given(rewards, st.floats(0, 3), st.sampled_from([0.0, 0.01, 0.5]))
def test_loss_equals_the_papers(pairs: list[Judged], margin: float, center: float) -> None:
    found = RewardModel(margin, center)(*given_values(pairs)).loss.item()
    assert found == pytest.approx(float(reward_loss(pairs, margin, center)), rel=1e-11, abs=1e-12)


@pytest.mark.parametrize(("margin", "center"), [(0.0, 0.0), (0.5, 0.01)])
def test_gradient_equals_finite_differences_of_the_oracle(margin: float, center: float) -> None:
    scores, totals = given_values(PAIRS)
    RewardModel(margin, center)(scores, totals).loss.backward()
    assert scores.values is not None
    assert scores.values.grad is not None
    before = reward_loss(PAIRS, margin, center)
    for i, pair in enumerate(PAIRS):
        for side in (0, 1):
            moved: list[tuple[Real, ...]] = [*PAIRS]
            moved[i] = (*pair[:side], mpf(pair[side]) + STEP, *pair[side + 1 :])
            expected = float((reward_loss(moved, margin, center) - before) / STEP)
            assert scores.values.grad[side, i].item() == pytest.approx(expected, rel=1e-10, abs=1e-12)


def test_only_the_centring_term_fixes_the_level() -> None:
    shifted = [(chosen + 5, rejected + 5, weight, own) for chosen, rejected, weight, own in PAIRS]

    def loss(center: float, pairs: list[Judged]) -> float:
        return RewardModel(0.0, center)(*given_values(pairs)).loss.item()

    assert loss(0.0, shifted) == pytest.approx(loss(0.0, PAIRS))
    assert loss(0.01, shifted) > loss(0.01, PAIRS)


def test_the_brier_score_is_of_the_probability_that_the_label_is_right() -> None:
    found = means(RewardModel(margin=0.5)(*given_values(PAIRS[:1])))
    assert found["brier"].item() == pytest.approx(float((1 - sigmoid(1.5 - 0.25)) ** 2))
    assert found["rewards/margins"].item() == 1.25
    assert found["rewards/accuracies"].item() == 1.0


def test_there_are_no_metrics_of_log_probabilities() -> None:
    assert not [name for name in RewardModel()(*given_values(PAIRS)).metrics if name.startswith("log")]
