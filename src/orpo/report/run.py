"""A run as a report sees it: what its directory holds, and the figures that follow from it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from string import ascii_uppercase
from typing import Literal

from orpo.config import Setting, read_recorded
from orpo.errors import ConfigError
from orpo.rundir import RunDirectory
from orpo.rundir.evaluations import EVALUATION, RUN_EVALUATION, Evaluation, read_evaluation
from orpo.rundir.records import MetricsRow, RunRecords, read_run
from orpo.statistics.intervals import Interval, wilson

State = Literal["finished", "interrupted", "failed", "unfinished"]

ACCURACY = "rewards/accuracies"
"""The metric that is a share of the held-out pairs, and so has an interval."""


@dataclass(frozen=True)
class Change:
    """A held-out metric before and after training."""

    first: float
    last: float

    interval: Interval | None
    """95 % of the last value, where it is a share of a known number of pairs."""

    @property
    def difference(self) -> float:
        """Of the last value from the first."""
        return self.last - self.first


@dataclass(frozen=True)
class Run:
    """A run directory and its letter."""

    label: str
    """Tells the runs of one report apart, in pictures too."""

    records: RunRecords
    settings: tuple[Setting, ...]

    evaluation: Evaluation | None = None
    """What `orpo eval` has left in the run's directory."""

    @property
    def name(self) -> str:
        """The directory's own name."""
        return self.records.path.resolve().name or str(self.records.path)

    @property
    def state(self) -> State:
        """How the run ended; one without a summary is going on, or was killed."""
        return self.records.summary.status if self.records.summary is not None else "unfinished"

    @property
    def steps(self) -> int:
        """Optimizer steps done, as far as is known."""
        if self.records.summary is not None:
            return self.records.summary.steps
        return max((row.step for row in self.records.metrics), default=0)

    @cached_property
    def evaluations(self) -> tuple[MetricsRow, ...]:
        """The rows of held-out metrics."""
        return tuple(row for row in self.records.metrics if row.split == "eval")

    @property
    def held_out_pairs(self) -> int:
        """How many pairs the held-out metrics are means over; 0 without any."""
        used = self.records.definition.data.used.get("eval")
        return used.pairs if used is not None else 0

    @property
    def changes(self) -> Mapping[str, Change]:
        """Held-out metrics by name: those of the first and the last evaluation."""
        if not self.evaluations:
            return {}
        first, last = self.evaluations[0].values, self.evaluations[-1].values
        return {
            name: Change(first[name], last[name], self.interval_of(name, last[name]))
            for name in last
            if name in first
        }

    def interval_of(self, name: str, value: float) -> Interval | None:
        """95 % of a held-out metric, if it is a share of a known number of pairs (Wilson's)."""
        if name != ACCURACY or not self.held_out_pairs or not 0 <= value <= 1:
            return None
        return wilson(value * self.held_out_pairs, self.held_out_pairs)

    @property
    def seconds(self) -> float | None:
        """Wall time, preparations included; None before the end."""
        return self.records.summary.wall_seconds if self.records.summary is not None else None

    @property
    def peak_memory_bytes(self) -> float | None:
        """The most that a process held; None where nothing is logged."""
        return max(self._timed("peak_memory_bytes"), default=None)

    def rate_of(self, name: str) -> float | None:
        """A speed of the timing log over all logged steps, evaluations left out."""
        amount = seconds = 0.0
        for row in self.records.timing:
            if name in row.values and "seconds" in row.values:
                amount += row.values[name] * row.values["seconds"]
                seconds += row.values["seconds"]
        return amount / seconds if seconds else None

    def _timed(self, name: str) -> list[float]:
        return [row.values[name] for row in self.records.timing if name in row.values]

    def setting(self, key: str) -> object:
        """The value of a key of the configuration; None where it is not there."""
        return next((one.value for one in self.settings if one.key == key), None)


def read_runs(paths: Sequence[Path]) -> tuple[Run, ...]:
    """The runs in some directories.

    Raises:
        ConfigError: there are too many, one is given twice, or is no run directory.
        DataError: a file is not what a run writes.
    """
    if len(paths) > len(ascii_uppercase):
        raise ConfigError(
            f"{len(paths)} runs are more than one report shows, which is {len(ascii_uppercase)}",
            hint="Make several reports.",
        )
    places = [path.expanduser().resolve() for path in paths]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise ConfigError(f"{paths[index]} is given twice", hint="Name each run directory once.")
    return tuple(
        Run(label, read_run(path), read_recorded(RunDirectory(path).config), _evaluation(path))
        for label, path in zip(ascii_uppercase, map(Path.expanduser, paths), strict=False)
    )


def _evaluation(run: Path) -> Evaluation | None:
    place = run / RUN_EVALUATION
    return read_evaluation(place) if (place / EVALUATION).exists() else None
