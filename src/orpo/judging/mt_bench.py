"""MT-Bench's published judgements: pairwise ones as comparisons, single ones as scores by model and turn."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orpo.formats.mt_bench import UNREAD_SCORE, PairJudgment, SingleJudgment, preferences
from orpo.judging.comparison import Comparison, Judgement
from orpo.judging.outputs import Item
from orpo.judging.verdicts import Status
from orpo.statistics.bootstrap import bootstrap_mean
from orpo.statistics.intervals import Estimate
from orpo.statistics.position import both_orders

UNREAD = "no verdict in the judge's words"


@dataclass(frozen=True)
class Score:
    """Scores of a model's answers."""

    mean: Estimate | None
    """Of those with a number; turns of one question are drawn together.  None without any."""

    count: int
    unread: int
    """Judgements without a number, which are in no mean."""


@dataclass(frozen=True)
class Scoreboard:
    """What a judge gave one model."""

    model: str
    judge: str
    turns: tuple[tuple[int, Score], ...]
    overall: Score


def pair_comparisons(judgments: Sequence[PairJudgment]) -> list[Comparison]:
    """The comparisons in pairwise judgements: one for each pair of models, oriented as its first row is."""
    groups: defaultdict[frozenset[str], list[PairJudgment]] = defaultdict(list)
    for judgment in judgments:
        groups[frozenset((judgment.model_1, judgment.model_2))].append(judgment)
    return [_comparison(rows) for rows in groups.values()]


def scoreboards(judgments: Sequence[SingleJudgment]) -> list[Scoreboard]:
    """The scores in single judgements: one board for each model, in the order of the file."""
    groups: defaultdict[str, list[SingleJudgment]] = defaultdict(list)
    for judgment in judgments:
        groups[judgment.model].append(judgment)
    return [
        Scoreboard(
            model,
            _judges(rows),
            tuple(
                (turn, _score([one for one in rows if one.turn == turn]))
                for turn in sorted({one.turn for one in rows})
            ),
            _score(rows),
        )
        for model, rows in groups.items()
    ]


def _comparison(rows: Sequence[PairJudgment]) -> Comparison:
    model, baseline = rows[0].model_1, rows[0].model_2
    shown_first, shown_second = np.array([preferences(one, model) for one in rows]).T
    joined = both_orders(shown_first, shown_second)
    judgements = tuple(
        Judgement(
            # Both turns are about one question, and their verdicts depend on each other.
            Item(f"question {row.question_id}", "", "", None if row.turn is None else f"turn {row.turn}"),
            preference,
            Status.INVALID if math.isnan(preference) else Status.VALID,
            first,
            second,
        )
        for row, preference, first, second in zip(
            rows, joined.preferences.tolist(), shown_first.tolist(), shown_second.tolist(), strict=True
        )
    )
    unread = int(np.isnan([shown_first, shown_second]).sum())
    reasons = {UNREAD: unread} if unread else {}
    return Comparison(model, baseline, _judges(rows), judgements, reasons, has_texts=False)


def _score(rows: Sequence[SingleJudgment]) -> Score:
    read = [one for one in rows if one.score != UNREAD_SCORE]
    mean = (
        bootstrap_mean([one.score for one in read], clusters=[str(one.question_id) for one in read])
        if read
        else None
    )
    return Score(mean, len(read), len(rows) - len(read))


def _judges(rows: Sequence[PairJudgment] | Sequence[SingleJudgment]) -> str:
    return ", ".join(sorted({one.judge[0] for one in rows}))
