"""The higher value wins, each response is valued once, and whether the judge may judge goes with its name."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

import pytest

from orpo.data.pairs import Prompt
from orpo.data.rendering import Dropped
from orpo.judging.comparison import compare
from orpo.judging.outputs import Item
from orpo.judging.reward.fitness import Fitness
from orpo.judging.reward.judge import Asked, RewardJudge
from orpo.judging.reward.model import Rewarded, RewardModel
from orpo.judging.reward.record import reward_record
from orpo.judging.verdicts import Question, Status
from orpo.rundir.records import Assessment
from tests.unit.report.runs import ASSESSMENT

FIT = Fitness("pairs.jsonl", Assessment.model_validate(ASSESSMENT, strict=False))
UNFIT = Fitness("pairs.jsonl", Assessment.model_validate({**ASSESSMENT, "fit_to_judge": False}, strict=False))
UNKNOWN = Fitness("", None)


class Numbers(RewardModel):
    """Values a response by the number that it is; `x` it cannot read; notes what it is asked."""

    asked: list[str]

    def __init__(self) -> None:
        super().__init__("numbers", lambda both: [], lambda texts, done: [])  # type: ignore[arg-type]
        object.__setattr__(self, "asked", [])

    def __call__(
        self, both: Sequence[tuple[Prompt, str]], on_done: Callable[[int], None] = lambda done: None
    ) -> list[Rewarded | Dropped]:
        self.asked.extend(text for _, text in both)
        on_done(len(both))
        return [
            Dropped("unreadable") if text == "x" else Rewarded(float(text), 1, is_cut=text == "9")
            for _, text in both
        ]


def judge(fitness: Fitness = FIT) -> RewardJudge:
    return RewardJudge(Numbers(), fitness, lambda done, total: None)


@pytest.mark.parametrize(
    ("first", "second", "preference", "margin"),
    [
        ("2", "1.5", 1.0, 0.5),
        ("1", "3", 0.0, -2.0),
        ("1", "1.0", 0.5, 0.0),
        ("1", "1.0000001", 0.0, pytest.approx(-1e-7)),
        ("-5", " \n", 1.0, None),
        ("", "-5", 0.0, None),
        ("", " ", 0.5, None),
    ],
)
def test_the_higher_value_wins_and_only_equal_ones_are_tied(
    first: str, second: str, preference: float, margin: float | None
) -> None:
    (verdict,) = judge().judge([Question("q", first, second)])
    assert (verdict.status, verdict.preference, verdict.margin) == (Status.VALID, preference, margin)


def test_what_has_no_value_has_no_verdict() -> None:
    first, second = judge().judge([Question("q", "x", "1"), Question("q", "1", "x")])
    assert first.status is second.status is Status.INVALID
    assert first.reason == "unreadable"


def test_each_response_is_valued_once_however_often_it_is_asked_about() -> None:
    found, model = judge(), None
    questions = [Question("q", "1", "2"), Question("q", "2", "9"), Question("r", "1", "")]
    found.judge(questions)
    found.judge(questions)
    model = found._model
    assert isinstance(model, Numbers)
    assert sorted(model.asked) == ["1", "1", "2", "9"]
    assert found.asked == Asked(responses=5, cut=1, empty=1)


def test_it_is_asked_in_one_order_and_keeps_its_margins() -> None:
    items = [Item("q", "2", "1"), Item("r", "1", "4"), Item("s", "", "1")]
    found = compare(judge(), items, model="ours", baseline="theirs")
    assert [one.preference for one in found.judgements] == [1.0, 0.0, 0.0]
    assert [one.margin for one in found.judgements] == [1.0, -3.0, None]
    assert found.orders() is None


@pytest.mark.parametrize(
    ("fitness", "name"),
    [
        (FIT, "numbers"),
        (UNFIT, "numbers (UNFIT to judge)"),
        (UNKNOWN, "numbers (not known to be fit to judge)"),
    ],
)
def test_a_judge_that_may_not_judge_says_so_by_its_name(fitness: Fitness, name: str) -> None:
    found = judge(fitness)
    assert found.name == name
    record = reward_record(found)
    json.dumps(record, allow_nan=False)
    assert (record["name"], record["standing"]) == ("numbers", fitness.standing.value)
