"""A run directory as it is found, finished or not, checked while it is read.

A run that is going on may be read at any moment: a line of a log that is half written is left out and told.
Whatever else is not what a run writes ends the reading with one message.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, TypeVar

from pydantic import ConfigDict, Field, FiniteFloat

from orpo.errors import ConfigError, DataError
from orpo.rundir.checked import HINT, Count, Record, read_document, read_lines
from orpo.rundir.directory import (
    CONFIG,
    DEFINITION,
    FAILURE,
    HOLDER,
    METRICS,
    SUMMARY,
    TIMING,
    Status,
)

Scalar = str | bool | int | float | None


class Counts(Record):
    """What became of rows."""

    read: Count
    kept: Count
    dropped: dict[str, Count]
    notes: dict[str, Count]


class Source(Counts):
    """A source of examples."""

    path: str
    split: str | None
    detected: str
    fingerprint: str
    used: Count
    left_out: dict[str, Count]


class Used(Record):
    """Examples that the objective is given."""

    pairs: Count
    singles: Count
    of_no_use: Count


class Data(Record):
    """What was trained and evaluated on."""

    train: tuple[Source, ...]
    eval: tuple[Source, ...]
    """Empty also where the held-out pairs are a part of the training sources."""

    tokens: dict[str, Counts]
    used: dict[str, Used]
    max_length: Count
    truncation: str


class Objective(Record):
    """What was optimised; its coefficients are what else it holds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    __pydantic_extra__: dict[str, Scalar] = Field(init=False)  # type: ignore[reportIncompatibleVariableOverride]  pydantic's way

    name: str
    title: str
    formula: str

    @property
    def coefficients(self) -> dict[str, Scalar]:
        """By name."""
        return self.__pydantic_extra__


class Model(Record):
    """What was trained."""

    name: str
    is_reward_model: bool
    revision: str | None
    commit: str | None
    random_init: bool
    lora: dict[str, Any] | None
    parameters: Count
    trainable_parameters: Count


class Template(Record):
    """How conversations became text."""

    name: str
    sha256: str | None


class Definition(Record):
    """definition.json"""

    schema_version: int
    objective: Objective
    model: Model
    template: Template
    data: Data
    versions: dict[str, str]
    engine: dict[str, Scalar]
    commands: tuple[str, ...] = Field(default=(), strict=False)
    """That began the run and went on with it; earlier versions did not store them."""


class BudgetChange(Record):
    """A token budget that came into force after `step`."""

    step: Count
    tokens: Count
    why: str


class Sign(Record):
    """What was noticed of a run's health."""

    name: str
    step: Count
    message: str
    advice: str


class Share(Record):
    """A share with its 95 % interval."""

    rate: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat


class LengthRule(Share):
    """How often the rule is right that looks at lengths only."""

    rule: str
    p_value: FiniteFloat


class ReliabilityBin(Record):
    """Pairs on which a reward model is about as sure."""

    confidence: FiniteFloat
    accuracy: FiniteFloat
    pairs: Count


class Calibration(Record):
    """Whether a reward model is right as often as it says."""

    expected_error: FiniteFloat
    brier: FiniteFloat
    bins: tuple[ReliabilityBin, ...]


class Assessment(Record):
    """Whether a reward model may judge."""

    pairs: Count
    accuracy: Share
    by_length: LengthRule
    fit_to_judge: bool
    calibration: Calibration | None


class Summary(Record):
    """summary.json"""

    schema_version: int
    status: Status
    steps: Count
    model_step: Count | None
    max_tokens: tuple[BudgetChange, ...]
    skipped_steps: tuple[Count, ...]
    warnings: tuple[Sign, ...]
    assessment: Assessment | None
    resumed: tuple[Count, ...]
    wall_seconds: FiniteFloat


class FailedPair(Record):
    """A pair of the step that ended a run, computed alone; its terms are what else it holds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    __pydantic_extra__: dict[str, float | str] = Field(init=False)  # type: ignore[reportIncompatibleVariableOverride]  pydantic's way

    row: str
    weight: float
    tokens: dict[str, Count]

    @property
    def terms(self) -> dict[str, float | str]:
        """Metrics by name; those that are not finite are text."""
        return self.__pydantic_extra__


class Failure(Record):
    """failure.json"""

    schema_version: int
    step: Count
    seen: dict[str, float | str]
    not_finite_alone: tuple[str, ...]
    pairs: tuple[FailedPair, ...]


class Holder(Record):
    """run.lock.json: the process that works on a run, or did and was ended."""

    since: str


class LogRow(Record):
    """A row of a log; its values are what else it holds."""

    model_config = ConfigDict(frozen=True, strict=True, extra="allow")
    __pydantic_extra__: dict[str, FiniteFloat] = Field(init=False)  # type: ignore[reportIncompatibleVariableOverride]  pydantic's way

    step: Count

    @property
    def values(self) -> Mapping[str, float]:
        """By name."""
        return self.__pydantic_extra__


class MetricsRow(LogRow):
    """A row of metrics.jsonl."""

    split: Literal["train", "eval"]


@dataclass(frozen=True)
class RunRecords:
    """All that a run directory says of its run."""

    path: Path
    definition: Definition
    metrics: tuple[MetricsRow, ...]
    timing: tuple[LogRow, ...]

    summary: Summary | None
    """None of a run that has not ended, or was killed."""

    failure: Failure | None
    """None unless numbers that were not finite have ended the run."""

    holder: Holder | None
    """None unless a process works on the run, or did and was killed."""

    half_written: tuple[str, ...]
    """Logs whose last line is not whole, and left out."""


_Row = TypeVar("_Row", bound=LogRow)


def read_run(path: Path) -> RunRecords:
    """The run in a directory.

    Raises:
        ConfigError: there is none, or none that has begun.
        DataError: a file is not what a run writes.
    """
    if not path.is_dir():
        raise ConfigError(
            f"{path}: no such run directory", hint="Give the directory that a run's `output` names."
        )
    for name in (CONFIG, DEFINITION):
        if not (path / name).is_file():
            raise ConfigError(
                f"{path} is no run directory, or its run has not begun: {name} is not there",
                hint="Give the directory that a run's `output` names; it is written before the first step.",
            )
    metrics, half_metrics = _log(path / METRICS, MetricsRow)
    timing, half_timing = _log(path / TIMING, LogRow)
    definition = read_document(path / DEFINITION, Definition)
    assert definition is not None
    return RunRecords(
        path=path,
        definition=definition,
        metrics=metrics,
        timing=timing,
        summary=read_document(path / SUMMARY, Summary),
        failure=read_document(path / FAILURE, Failure),
        holder=read_document(path / HOLDER, Holder),
        half_written=tuple(name for name, half in ((METRICS, half_metrics), (TIMING, half_timing)) if half),
    )


def _log(path: Path, kind: type[_Row]) -> tuple[tuple[_Row, ...], bool]:
    """The whole lines of a log, and whether there is one that is not whole."""
    rows, is_broken_off = read_lines(path, kind)
    for number, (before, row) in enumerate(pairwise(rows), start=2):
        if row.step < before.step:
            raise DataError(f"{path}:{number}: step {row.step} comes after step {before.step}", hint=HINT)
    return tuple(rows), is_broken_off
