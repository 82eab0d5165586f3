"""Models against each other: each pair of them, and from three on a table of strengths."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from orpo.judging.annotations import write_comparison
from orpo.judging.comparison import Comparison, compare
from orpo.judging.outputs import Matching, System, match, read_system, require_names
from orpo.judging.verdicts import Judge
from orpo.statistics.bradley_terry import Game, Strength, bradley_terry
from orpo.statistics.comparisons import Comparison as Difference
from orpo.statistics.comparisons import compare_win_rates

_LONGEST_NAME = 60


@dataclass(frozen=True)
class Contest:
    """Two models, with what they could be compared on."""

    comparison: Comparison
    matching: Matching | None = None
    """None where the items come from annotations."""


@dataclass(frozen=True)
class Standings:
    """Several models."""

    strengths: tuple[Strength, ...]
    differences: tuple[Difference, ...]
    """Of each pair, with p-values that are corrected for all of them."""


def read_systems(paths: Sequence[Path]) -> list[System]:
    """The models of these files.

    Raises:
        DataError: a file cannot be read, or two are of the same model.
    """
    systems = [read_system(path) for path in paths]
    require_names(systems, paths)
    return systems


def judge_systems(judge: Judge, systems: Sequence[System], output: Path) -> list[Contest]:
    """Compare each pair of models, the earlier one with the later one as its baseline.

    Args:
        judge: whom to ask.
        systems: at least two.
        output: folder for the annotations, one file for each pair.

    Raises:
        DataError: two of them have no instruction in common.
        NetworkError: the judge does not answer.
        ResourceError: `output` cannot be written.
    """
    pairs = list(combinations(systems, 2))
    matchings = [match(*pair) for pair in pairs]  # all of them before anything is paid for
    contests: list[Contest] = []
    for (model, baseline), matching in zip(pairs, matchings, strict=True):
        found = compare(judge, matching.items, model=model.name, baseline=baseline.name)
        write_comparison(annotations_path(output, found), found)
        contests.append(Contest(found, matching))
    return contests


def annotations_path(output: Path, comparison: Comparison) -> Path:
    """Where the annotations of a comparison are written."""
    return output / f"{_file_name(comparison.model)}-against-{_file_name(comparison.baseline)}.json"


def standings(contests: Sequence[Contest]) -> Standings | None:
    """The table of several models; None for two, and where no verdict is valid.

    Raises:
        DataError: the models fall into groups that never met.
    """
    comparisons = [one.comparison for one in contests]
    rates = {(one.model, one.baseline): one.win_rate() for one in comparisons}
    known = {pair: rate for pair, rate in rates.items() if rate is not None}
    if len(rates) < 2 or not known:
        return None
    games = [
        Game(judgement.item.instruction, one.model, one.baseline, judgement.preference)
        for one in comparisons
        for judgement in one.valid
    ]
    return Standings(tuple(bradley_terry(games)), tuple(compare_win_rates(known)))


def _file_name(name: str) -> str:
    """A name of a model that no file system takes for anything else, and that stays different from others."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip(".")[:_LONGEST_NAME]
    return (
        plain if plain == name else f"{plain}-{hashlib.sha256(name.encode(errors='replace')).hexdigest()[:8]}"
    )
