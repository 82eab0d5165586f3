"""AlpacaEval: model outputs, annotations and leaderboard rows (tatsu-lab/alpaca_eval 0.6)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import AfterValidator, ConfigDict

from orpo.data.rows import read_rows
from orpo.errors import DataError
from orpo.formats.records import (
    OptionalNumber,
    Record,
    check_record,
    write_text,
)
from orpo.statistics.intervals import Floats
from orpo.statistics.winrate import win_rate
from orpo.text import printable

_EXCERPT = 100

BASELINE, MODEL, DRAW = 1.0, 2.0, 1.5
"""Preferences: for `output_1`, for `output_2`, for neither."""


class ModelOutput(Record):
    """A row of `model_outputs.json`, a JSON list."""

    what = "a model output of AlpacaEval"

    instruction: str
    output: str
    generator: str
    dataset: str | None = None
    datasplit: str | None = None


def _preference(value: float | None) -> float | None:
    if value is None or BASELINE <= value <= MODEL:
        return value
    if value == 0:  # how older files write a draw
        return DRAW
    raise ValueError("a number from 1 (output_1 is better) to 2 (output_2 is), 0 or 1.5 for a draw, or null")


class Annotation(Record):
    """A row of `annotations.json`, a JSON list."""

    what = "an annotation of AlpacaEval"

    instruction: str
    output_1: str
    generator_1: str
    output_2: str
    generator_2: str
    dataset: str | None = None
    annotator: str | None = None
    preference: Annotated[OptionalNumber, AfterValidator(_preference)]
    """From 1, the baseline's `output_1` is better, to 2, `output_2` is; None if the judge's words were not
    understood."""


class LeaderboardRow(Record):
    """A row of AlpacaEval's leaderboard; rates and errors in percent."""

    what = "a row of AlpacaEval's leaderboard"

    # A csv file holds text only.
    model_config = ConfigDict(strict=False)

    win_rate: float
    standard_error: float
    n_wins: int
    n_wins_base: int
    n_draws: int
    n_total: int
    discrete_win_rate: float
    mode: str
    avg_length: int
    length_controlled_winrate: OptionalNumber = None
    lc_standard_error: OptionalNumber = None


def preferences(annotations: Sequence[Annotation]) -> Floats:
    """(N,) preference for `output_2` in [0, 1], as `win_rate` takes it; NaN where it is not known."""
    given = [np.nan if one.preference is None else one.preference for one in annotations]
    return np.array(given, dtype=np.float64) - BASELINE


def leaderboard_row(annotations: Sequence[Annotation], *, mode: str = "community") -> LeaderboardRow:
    """The leaderboard's figures from annotations of one model, without the length-controlled ones.

    Annotations without a preference count in the length and in nothing else, as in AlpacaEval.

    Raises:
        DataError: the annotations are of several models, or none has a preference.
    """
    models = sorted({one.generator_2 for one in annotations})
    if len(models) != 1:
        raise DataError(
            f"expected annotations of one model, got generator_2 = {_shown(models) or 'none'}",
            hint="Make one leaderboard row for each.",
        )
    verdicts = preferences(annotations)
    known = verdicts[~np.isnan(verdicts)]
    if not len(known):
        raise DataError(f"none of the {len(verdicts)} annotations of {_shown(models)} has a preference")
    result = win_rate(known)
    return LeaderboardRow(
        win_rate=100 * result.rate,
        standard_error=100 * result.standard_error,
        n_wins=result.wins,
        n_wins_base=result.losses,
        n_draws=result.ties,
        n_total=result.total,
        discrete_win_rate=100 * result.discrete_rate,
        mode=mode,
        avg_length=int(np.mean([len(one.output_2) for one in annotations])),
    )


def _shown(models: Sequence[str]) -> str:
    return printable(", ".join(models), _EXCERPT)


def read_leaderboard(path: str | Path) -> dict[str, LeaderboardRow]:
    """Read a leaderboard's csv file: rows by the name of the model.

    Raises:
        DataError: it is not such a file.
    """
    found: dict[str, LeaderboardRow] = {}
    for row in read_rows(Path(path)):
        model = str(row.values.get("", ""))
        if not model:
            raise DataError(f"{row.where}: the first column, which has no name, should hold the model's name")
        given = {name: value for name, value in row.values.items() if name and value != ""}
        found[model] = check_record(given, LeaderboardRow, row.where)
    return found


def write_leaderboard(path: str | Path, rows: Mapping[str, LeaderboardRow]) -> None:
    """Write a leaderboard's csv file, the best first.

    Raises:
        ResourceError: it cannot be written.
    """
    columns = list(LeaderboardRow.model_fields)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["", *columns])
    for model, row in sorted(rows.items(), key=lambda item: -item[1].win_rate):
        values = row.fields()
        writer.writerow([model, *(values.get(column, "") for column in columns)])
    write_text(path, text.getvalue())
