"""Each sign is seen where it is planted, once, and nothing is seen in a run that goes well."""

from __future__ import annotations

import json
import random

import pytest
import torch
from torch import Tensor

from orpo.batch import Layout, PromptTokens
from orpo.data.collate import batch_totals, collate
from orpo.modeling.engine import build_scorer
from orpo.objectives import ORPO, ObjectiveOutput
from orpo.training.health import Health, Sign
from tests.loops import random_pairs
from tests.tiny import tiny_llama

WELL = {
    "loss": 1.0,
    "rewards/accuracies": 0.6,
    "logps/chosen": -1.0,
    "odds_saturated": 0.0,
    "preference_share": 0.1,
}


def signs(changes: dict[str, list[float]], *, pairs: float = 64, compares: bool = True) -> list[Sign]:
    """What is said of rows that are well but for `changes`, with noise that rows of a run have."""
    number = max(map(len, changes.values()), default=40)
    rng = random.Random(3)
    health = Health(number, compares=compares)
    for i in range(number):
        health.saw(pairs)
        row = WELL | {name: values[i] for name, values in changes.items()}
        row["loss"] += rng.gauss(0, 0.05)
        row["logps/chosen"] += rng.gauss(0, 0.05)
        health.look(i + 1, row)
    return health.signs


def names(changes: dict[str, list[float]], **given: float) -> list[str]:
    return [sign.name for sign in signs(changes, **given)]  # type: ignore[arg-type]


def test_a_run_that_goes_well_is_left_in_peace() -> None:
    learning = [0.5 + 0.4 * i / 40 for i in range(40)]
    falling = [2.0 - i / 40 for i in range(40)]
    assert names({"rewards/accuracies": learning, "loss": falling}) == []


def test_accuracy_at_chance_is_told_once_there_are_enough_pairs() -> None:
    (sign,) = signs({"rewards/accuracies": [0.505] * 40})
    assert (sign.name, sign.step) == ("accuracy-at-chance", 17), "400 pairs after the first quarter"
    assert sign.message == "pair accuracy is 0.505 over the last 448 pairs, which is chance"
    assert "orpo data check" in sign.advice


@pytest.mark.parametrize(
    ("accuracy", "pairs", "compares"),
    [(0.505, 8, True), (0.56, 64, True), (0.44, 64, True), (0.5, 64, False)],
)
def test_accuracy_is_not_chance_if_too_few_pairs_or_the_interval_or_the_objective_say_so(
    accuracy: float, pairs: float, compares: bool
) -> None:
    assert names({"rewards/accuracies": [accuracy] * 40}, pairs=pairs, compares=compares) == []


def test_the_beginning_of_a_run_may_be_at_chance() -> None:
    assert names({"rewards/accuracies": [0.5] * 10 + [0.7] * 30}) == []


def test_a_fall_of_the_chosen_responses_is_told() -> None:
    (sign,) = signs({"logps/chosen": [-1.0 - 0.02 * i for i in range(40)]})
    assert sign.name == "chosen-falls"
    assert "has fallen from -1.0" in sign.message


@pytest.mark.parametrize("slope", [0.02, 0.0, -0.0005])
def test_what_rises_or_wavers_is_no_fall(slope: float) -> None:
    assert names({"logps/chosen": [-1.0 + slope * i for i in range(40)]}) == []


def test_odds_at_their_cap_are_told() -> None:
    (sign,) = signs({"odds_saturated": [0.0] * 20 + [0.05] * 20})
    assert (sign.name, sign.step) == ("odds-saturate", 21)
    assert sign.message == "the odds of 5.0% of the pairs are at their cap"


def test_a_term_that_hardly_pulls_is_told_while_pairs_are_wrong() -> None:
    assert names({"preference_share": [0.002] * 40}) == ["faint-preference"]
    assert names({"preference_share": [0.002] * 40, "rewards/accuracies": [0.95] * 40}) == []


def test_lambda_0_was_asked_for() -> None:
    assert names({"preference_share": [0.0] * 40, "rewards/accuracies": [0.5] * 40}) == []


def test_a_spike_of_the_loss_is_told_with_its_steps() -> None:
    (sign,) = signs({"loss": [1.0] * 20 + [3.0] + [1.0] * 19})
    assert sign.name == "loss-spike"
    assert sign.message.startswith("the loss of steps 21 to 21 is ")


def test_objectives_without_these_metrics_are_looked_at_too() -> None:
    health = Health(10, compares=True)
    for step in range(1, 11):
        assert health.look(step, {"loss": 1.0}) == []


def test_what_was_said_is_not_said_again_after_going_on() -> None:
    bad = WELL | {"rewards/accuracies": 0.5}
    first, second = Health(8, compares=True), Health(8, compares=True)
    straight = Health(8, compares=True)
    for step in range(1, 9):
        health = first if step <= 4 else second
        if step == 5:
            second.load_state_dict(json.loads(json.dumps(first.state_dict())))
        for one in (health, straight):
            one.saw(200)
            one.look(step, bad)
    assert [sign.name for sign in first.signs] == ["accuracy-at-chance"]
    assert second.signs == straight.signs == first.signs


@pytest.mark.parametrize("weight", [0.01, 0.1, 1.0])
def test_the_estimated_share_is_near_that_of_the_parameters_gradients(weight: float) -> None:
    model, pairs = tiny_llama(initializer_range=0.2), list(random_pairs(32))
    scorer = build_scorer(model, layout="auto", max_length=128)
    batch = collate(pairs, Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)

    def output() -> ObjectiveOutput:
        with scorer.attention():
            return ORPO(weight)(scorer(batch), batch_totals(pairs, PromptTokens.NONE))

    def norm(term: Tensor | None) -> float:
        assert term is not None
        gradients = torch.autograd.grad(term, list(model.parameters()))
        return torch.nn.utils.get_total_norm(gradients).item()

    pull = weight * norm(output().preference)
    total, count = output().metrics["preference_share"].tolist()
    assert total / count == pytest.approx(pull / (pull + norm(output().supervised)), rel=0.5)
