"""ORPO against the paper's formulas at 60 digits, value and gradient, both definitions."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from orpo.batch import Scores, Totals
from orpo.objectives.orpo import ORPO, Contrast
from orpo.objectives.terms import Definition, Turns, log_odds_ratio
from orpo.ops.means import WeightedMeans, add_sums
from tests import oracles
from tests.loops import ALONE
from tests.objectives import assert_equals, assert_gradient, logps, means, responses, scores_of, weights
from tests.oracles import TokenPair

token_pairs = st.builds(
    TokenPair,
    prompt=st.lists(logps, max_size=5),
    chosen=responses,
    rejected=st.lists(logps, max_size=5),
    weight=weights,
)


def slope(tensor: Tensor) -> Tensor:
    assert tensor.grad is not None
    return tensor.grad


def single(a_w: float, a_l: float, dtype: torch.dtype = torch.float32) -> tuple[Scores, Totals]:
    return scores_of([TokenPair([], [a_w], [a_l])], dtype)


def test_worked_example_of_the_literature() -> None:
    output = ORPO(0.1)(*single(math.log(0.7), math.log(0.4), torch.float64))
    metrics = means(output)
    assert math.exp(metrics["log_odds_chosen"]) == pytest.approx(3.5)
    assert metrics["log_odds_chosen"].item() == pytest.approx(1.2528, abs=5e-5)
    assert -metrics["log_odds_ratio"].item() == pytest.approx(0.2513, abs=5e-5)
    assert metrics["nll_loss"].item() == pytest.approx(0.3567, abs=5e-5)
    assert output.loss.item() == pytest.approx(0.3818, abs=5e-5)


every_loss = pytest.mark.parametrize(
    ("definition", "turns", "contrast"),
    [
        ("paper", "final", "odds"),
        ("paper", "all", "odds"),
        ("trl", "final", "odds"),
        ("paper", "final", "probability"),
    ],
)


def oracle(lambda_: float, definition: Definition, turns: Turns, contrast: Contrast) -> oracles.Oracle:
    return lambda pairs: oracles.orpo_loss(pairs, lambda_, definition, turns, contrast)


def scored(pairs: list[TokenPair], definition: Definition, turns: Turns) -> list[TokenPair]:
    """The pairs with the prompt tokens that are scored."""
    has_none = definition == "paper" and turns == "final"
    return [replace(pair, prompt=()) for pair in pairs] if has_none else pairs


@every_loss
@given(pairs=st.lists(token_pairs, min_size=1, max_size=4), lambda_=st.floats(0, 2))
def test_loss_equals_the_paper(
    definition: Definition, turns: Turns, contrast: Contrast, pairs: list[TokenPair], lambda_: float
) -> None:
    assert_equals(
        ORPO(lambda_, definition, turns, contrast),
        oracle(lambda_, definition, turns, contrast),
        scored(pairs, definition, turns),
    )


@given(a_w=logps, a_l=logps)
def test_odds_ratio_gradient_equals_the_closed_form(a_w: float, a_l: float) -> None:
    scores, totals = single(a_w, a_l, torch.float64)
    (ORPO(1.0)(scores, totals).loss - ORPO(0.0)(scores, totals).loss).backward()
    expected_w, expected_l = oracles.or_gradient(a_w, a_l)
    assert slope(scores.chosen).item() == pytest.approx(float(expected_w), rel=1e-9, abs=1e-12)
    assert slope(scores.rejected).item() == pytest.approx(float(expected_l), rel=1e-9, abs=1e-12)


@every_loss
def test_gradient_equals_finite_differences_of_the_oracle(
    definition: Definition, turns: Turns, contrast: Contrast
) -> None:
    pairs = [
        TokenPair([-2.0, -0.5], [-1.0, -0.2], [-0.7]),
        TokenPair([-1.5], [-0.3], [-2.0, -1.0, -0.1], weight=3.0),
        TokenPair([-0.1], [-0.6, -0.4], [], weight=0.5),
    ]
    assert_gradient(
        ORPO(0.3, definition, turns, contrast),
        oracle(0.3, definition, turns, contrast),
        scored(pairs, definition, turns),
    )


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("a_w", [0.0, -1e-45, -1e-8, -3e-8, -1e-4, -1.0, -50.0, -1e4])
@pytest.mark.parametrize("a_l", [0.0, -1e-45, -1e-8, -3e-8, -1e-4, -1.0, -50.0, -1e4])
def test_loss_and_gradient_are_finite_at_the_extremes(a_w: float, a_l: float, dtype: torch.dtype) -> None:
    scores, totals = single(a_w, a_l, dtype)
    output = ORPO(1.0)(scores, totals)
    output.loss.backward()
    assert torch.isfinite(output.loss)
    assert torch.isfinite(slope(scores.chosen)).all()
    assert torch.isfinite(slope(scores.rejected)).all()


def test_chosen_gradient_tends_to_its_finite_limit_as_the_response_becomes_certain() -> None:
    """sigmoid(-LO) / (1 - P_w) = O_l / (P_w + O_l (1 - P_w)), which is O_l at P_w = 1."""
    for a_w in (-1e-3, -1e-5, -1e-7, 0.0):
        scores, totals = single(a_w, math.log(0.4), torch.float32)
        (ORPO(1.0)(scores, totals).loss - ORPO(0.0)(scores, totals).loss).backward()
        p_w, o_l = math.exp(a_w), 0.4 / 0.6
        assert -slope(scores.chosen).item() == pytest.approx(o_l / (p_w + o_l * (1 - p_w)), rel=2e-3)


def test_rejected_gradient_is_capped_and_never_zeroed_at_certainty() -> None:
    scores, totals = single(-5.0, 0.0, torch.float32)
    ORPO(1.0)(scores, totals).loss.backward()
    assert slope(scores.rejected).item() == pytest.approx(2.0**24, rel=1e-5)


def test_equal_responses_have_no_preference() -> None:
    a = torch.tensor([-0.5, -3.0], dtype=torch.float64)
    assert torch.equal(log_odds_ratio(a, a), torch.zeros(2, dtype=torch.float64))


def test_lambda_zero_is_supervised_fine_tuning() -> None:
    scores, totals = single(-0.5, -0.7, torch.float64)
    output = ORPO(0.0)(scores, totals)
    output.loss.backward()
    assert output.loss.item() == pytest.approx(0.5)
    assert slope(scores.rejected).item() == 0.0
    assert means(output)["rewards/accuracies"].item() == 1.0


def test_metrics_follow_the_peers_conventions() -> None:
    metrics = means(ORPO(0.2)(*scores_of([TokenPair([], [-1.0, -3.0], [-3.0])])))
    assert metrics["logps/chosen"].item() == -2.0
    assert metrics["logps_sum/chosen"].item() == -4.0
    assert metrics["rewards/chosen"].item() == pytest.approx(-0.4)
    assert metrics["rewards/margins"].item() == pytest.approx(0.2)
    assert not any(value.requires_grad for value in metrics.values())


@pytest.mark.parametrize("definition", ["paper", "trl"])
def test_shares_of_micro_batches_add_up_and_a_pair_of_weight_zero_adds_nothing(
    definition: Definition,
) -> None:
    pairs = [TokenPair([-1.0], [-1.0, -2.0], [-0.5]), TokenPair([-3.0, -1.0], [-0.1], [-4.0, -1.0])]
    whole, totals = scores_of(pairs)
    expected = ORPO(0.5, definition)(whole, totals)
    found: dict[str, Tensor] = {}
    loss = 0.0
    for pair, weight in [(pairs[0], 1.0), (pairs[1], 1.0), (pairs[0], 0.0)]:
        part, _ = scores_of([pair])
        output = ORPO(0.5, definition)(Scores(**{**vars(part), "weight": part.weight * weight}), totals)
        add_sums(found, output.metrics)
        loss += output.loss.item()
    torch.testing.assert_close(found, expected.metrics)
    assert loss == pytest.approx(expected.loss.item())


@pytest.mark.parametrize("definition", ["paper", "trl"])
def test_single_responses_have_no_part_in_the_metrics_of_pairs(definition: Definition) -> None:
    pair = TokenPair([-1.0], [-1.0, -2.0], [-0.5])
    alone = means(ORPO(0.5, definition)(*scores_of([pair])))
    mixed = means(ORPO(0.5, definition)(*scores_of([pair, TokenPair([-2.0], [-0.25], [])])))
    of_responses = {"loss", "nll_loss"}
    for name in alone.keys() - of_responses:
        torch.testing.assert_close(mixed[name], alone[name], msg=name)
    assert all(mixed[name] != alone[name] for name in of_responses)


def test_a_batch_without_pairs_has_a_loss_and_no_metrics_of_pairs() -> None:
    output = ORPO(0.5)(*scores_of([TokenPair([], [-1.0, -2.0], [])]))
    assert output.loss.item() == pytest.approx(1.5)
    sums = WeightedMeans()
    sums.add(output.metrics)
    assert sums.take(ALONE) == pytest.approx({"loss": 1.5, "nll_loss": 1.5})
