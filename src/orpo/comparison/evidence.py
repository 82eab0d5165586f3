"""What the runs and evaluations of a comparison have left."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from orpo.comparison.plan import Plan, PlannedRun, PlannedSystem
from orpo.config.compare import BASE
from orpo.errors import DataError
from orpo.rundir.evaluations import Evaluation, PairRow, ResponseRow
from orpo.rundir.records import RunRecords

_Row = TypeVar("_Row")


@dataclass(frozen=True)
class Trained:
    """A system as trained with one seed."""

    planned: tuple[PlannedRun, ...]
    """Its phases."""

    phases: tuple[RunRecords, ...]
    """What they have left."""

    evaluation: Evaluation

    @property
    def seconds(self) -> float:
        """Of optimizer steps, in all phases."""
        return sum(row.values.get("seconds", 0.0) for run in self.phases for row in run.timing)

    @property
    def wall_seconds(self) -> float:
        """Of all phases with their preparations, references and evaluations."""
        return sum(run.summary.wall_seconds for run in self.phases if run.summary is not None)

    @property
    def visits(self) -> int:
        """Of pairs, with a gradient, as far as they are logged."""
        return sum(
            round(sum(row.values["pairs_per_second"] * row.values["seconds"] for row in run.timing))
            // planned.rows_per_pair
            for planned, run in zip(self.planned, self.phases, strict=True)
        )

    @property
    def peak_memory_bytes(self) -> float | None:
        """The most that the process of its last phase has held."""
        held = [row.values.get("peak_memory_bytes") for row in self.phases[-1].timing]
        return max((one for one in held if one is not None), default=None)

    def course(self, metric: str) -> list[tuple[int, float]]:
        """A metric of the held-out pairs at each of its steps, which go on from phase to phase."""
        points: list[tuple[int, float]] = []
        before = 0
        for number, run in enumerate(self.phases):
            points += [
                (before + row.step, row.values[metric])
                for row in run.metrics
                if row.split == "eval" and metric in row.values and (number == 0 or row.step > 0)
            ]
            before += run.summary.steps if run.summary is not None else 0
        return points


@dataclass(frozen=True)
class Evidence:
    """What is known when everything is trained and evaluated."""

    plan: Plan
    base: Mapping[int, Evaluation]
    """Of the model before training, by the seed of its responses."""

    trained: Mapping[str, Mapping[int, Trained]]
    """By system and seed, those that are finished."""

    failures: Mapping[str, Mapping[int, str]]
    """Why the others are not."""

    @property
    def seeds(self) -> tuple[int, ...]:
        return self.plan.section.seeds

    @property
    def compared(self) -> list[str]:
        """Systems that are finished with every seed, after the model before training."""
        return [
            BASE,
            *(one.name for one in self.plan.systems if len(self.trained[one.name]) == len(self.seeds)),
        ]

    def system(self, name: str) -> PlannedSystem:
        """One that was trained."""
        return next(one for one in self.plan.systems if one.name == name)

    def evaluations(self, name: str) -> list[Evaluation]:
        """Of a compared system, in the order of seeds."""
        if name == BASE:
            return [self.base[seed] for seed in self.seeds]
        return [self.trained[name][seed].evaluation for seed in self.seeds]

    @cached_property
    def pairs(self) -> Sequence[PairRow]:
        """The held-out pairs.

        Raises:
            DataError: not all systems were evaluated on the same ones.
        """
        return self._shared(lambda one: one.pairs, lambda row: (row.source, row.where, row.prompt))

    @cached_property
    def responses(self) -> Sequence[ResponseRow]:
        """Those of the first system, for prompts and samples, which all share.

        Raises:
            DataError: not all systems were given the same prompts.
        """
        return self._shared(
            lambda one: one.responses, lambda row: (row.prompt_index, row.sample, row.instruction)
        )

    @property
    def prompts(self) -> int:
        """How many were responded to."""
        return len({row.prompt_index for row in self.responses})

    @property
    def samples(self) -> int:
        """Responses to each."""
        return len(self.responses) // max(1, self.prompts)

    def texts(self, name: str) -> list[list[str]]:
        """Responses of a compared system: seeds, then prompts with their samples."""
        return [[row.response for row in one.responses] for one in self.evaluations(name)]

    def _shared(
        self, rows: Callable[[Evaluation], Sequence[_Row]], key: Callable[[_Row], object]
    ) -> Sequence[_Row]:
        every = [one for name in self.compared for one in self.evaluations(name)]
        keys = [list(map(key, rows(one))) for one in every]
        for one, other in zip(every, keys, strict=True):
            if other != keys[0]:
                raise DataError(
                    f"{one.path}: its pairs or prompts are not those of {every[0].path}",
                    hint="Remove the evaluation that is out of date; the same command makes it again.",
                )
        return rows(every[0])
