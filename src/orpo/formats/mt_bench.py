"""MT-Bench: questions, answers, pairwise and single judgements (lm-sys/FastChat, `fastchat/llm_judge`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from orpo.errors import DataError
from orpo.formats.records import Record
from orpo.statistics.intervals import Floats
from orpo.statistics.position import BothOrders, both_orders
from orpo.text import printable

UNREAD_SCORE = -1
"""The score of a judgement without a number in it."""

Winner = Literal["model_1", "model_2", "tie", "error"]

Judge = Annotated[tuple[str, str], Field(strict=False)]
"""The judge's model and the name of its prompt; JSON has it as a list."""


class Question(Record):
    """A row of `question.jsonl`."""

    what = "a question of MT-Bench"

    question_id: int | str
    category: str
    turns: list[str]
    reference: list[str] | None = None


class Choice(Record):
    """A choice of an answer of MT-Bench."""

    index: int
    turns: list[str]


class Answer(Record):
    """A row of `model_answer/MODEL.jsonl`."""

    what = "an answer of MT-Bench"

    question_id: int | str
    answer_id: str
    model_id: str
    choices: list[Choice] = Field(min_length=1)
    tstamp: float


class PairJudgment(Record):
    """A row of `model_judgment/JUDGE_pair.jsonl`."""

    what = "a pairwise judgement of MT-Bench"

    question_id: int | str
    model_1: str
    model_2: str
    g1_winner: Winner
    """With `model_1` shown first."""

    g2_winner: Winner
    """With `model_2` shown first."""

    judge: Judge
    g1_user_prompt: str
    g1_judgment: str
    g2_user_prompt: str
    g2_judgment: str
    turn: int | None = None
    tstamp: float


class SingleJudgment(Record):
    """A row of `model_judgment/JUDGE_single.jsonl`."""

    what = "a single judgement of MT-Bench"

    question_id: int | str
    model: str
    judge: Judge
    user_prompt: str
    judgment: str
    score: float
    turn: int
    tstamp: float


def pair_verdicts(judgments: Sequence[PairJudgment], model: str, opponent: str) -> BothOrders:
    """Verdicts of both orders on `model` against `opponent`, whichever of them is `model_1`.

    Raises:
        DataError: they were not compared.
    """
    ours = [one for one in judgments if {one.model_1, one.model_2} == {model, opponent}]
    if not ours:
        raise DataError(f"no judgement compares {printable(model)} with {printable(opponent)}")
    shown_first, shown_second = np.array([preferences(one, model) for one in ours]).T
    return both_orders(shown_first, shown_second)


def preferences(judgment: PairJudgment, model: str) -> tuple[float, float]:
    """Preferences for `model` in [0, 1], of the game that shows it first and of the other; NaN: error."""
    first = _preference(judgment, judgment.g1_winner, model)
    second = _preference(judgment, judgment.g2_winner, model)
    return (first, second) if judgment.model_1 == model else (second, first)


def _preference(judgment: PairJudgment, winner: Winner, model: str) -> float:
    match winner:
        case "tie":
            return 0.5
        case "error":
            return np.nan
        case _:
            return float((judgment.model_1 if winner == "model_1" else judgment.model_2) == model)


def scores(judgments: Sequence[SingleJudgment], model: str, turn: int | None = None) -> Floats:
    """The scores of a model, of one turn or of all; their mean is MT-Bench's figure.

    Judgements without a score are left out, as in FastChat.
    """
    return np.array(
        [
            one.score
            for one in judgments
            if one.model == model and turn in (None, one.turn) and one.score != UNREAD_SCORE
        ],
        dtype=np.float64,
    )
