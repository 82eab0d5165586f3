"""Verdicts from files, whoever gave them: AlpacaEval's annotations and MT-Bench's judgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from orpo.data.rows import read_rows
from orpo.formats.mt_bench import PairJudgment, SingleJudgment
from orpo.formats.records import read_records
from orpo.judging.annotations import read_comparisons
from orpo.judging.contest import Contest
from orpo.judging.mt_bench import Scoreboard, pair_comparisons, scoreboards


@dataclass(frozen=True)
class Published:
    """What some files say."""

    contests: tuple[Contest, ...]
    scores: tuple[Scoreboard, ...]


def read_published(paths: Sequence[Path]) -> Published:
    """The verdicts in files; what a file holds is told from the fields of its first row.

    Raises:
        DataError: a file cannot be read, or is none of these.
    """
    contests: list[Contest] = []
    scores: list[Scoreboard] = []
    for path in paths:
        fields = next(read_rows(path)).values.keys()
        if "g1_winner" in fields:
            contests += map(Contest, pair_comparisons(read_records(path, PairJudgment)))
        elif {"score", "judgment"} <= fields:
            scores += scoreboards(read_records(path, SingleJudgment))
        else:
            contests += map(Contest, read_comparisons(path))
    return Published(tuple(contests), tuple(scores))
