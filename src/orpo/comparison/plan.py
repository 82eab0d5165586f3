"""What a comparison will train: every run with its share of the budget, before anything is trained."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from orpo.batch import Rows
from orpo.config import LoadedConfig, RunConfig
from orpo.config.compare import CompareSection
from orpo.config.systems import LoadedComparison, System, configured
from orpo.objectives import OBJECTIVES

RUNS, STARTS, JUDGE = "runs", "starts", "reward-model"
"""Folders of the output: systems, first phases that some of them start from, and the judge."""

SECOND_PHASE_SEED = 100
"""Added to the seed of a second phase, so that it does not see the pairs of the first one in their order."""

EVALUATIONS = 10
"""On held-out pairs during a system's training, where the file does not say how many."""

_RESPONSES = 2
"""Of a pair."""


@dataclass(frozen=True)
class Passes:
    """Responses of a pair that go through a model each time that a step visits it."""

    with_gradient: int
    without: int
    """Of the reference, and for an estimate of the divergence from it."""

    @classmethod
    def of(cls, objective: str) -> Passes:
        """Those of an objective, by its name."""
        kind = OBJECTIVES[objective]
        return cls(
            1 if kind.rows is Rows.CHOSEN else _RESPONSES,
            _RESPONSES * (kind.needs_reference + 2 * kind.needs_divergence),
        )

    @property
    def cost(self) -> int:
        """In forward passes of one response; a backward pass is two of them."""
        return 3 * self.with_gradient + self.without


@dataclass(frozen=True)
class PlannedRun:
    """One training run."""

    loaded: LoadedConfig
    label: str
    """For people, such as `dpo, seed 1`."""

    steps: int | None
    """None of a judge, whose steps its epochs decide."""

    rows_per_pair: int = 1
    """Rows that its objective takes a pair for."""

    @property
    def config(self) -> RunConfig:
        return self.loaded.config

    @property
    def path(self) -> Path:
        """The run directory."""
        return Path(self.config.output).expanduser()

    @property
    def objective(self) -> str:
        """Its name."""
        return self.config.objective.name

    @property
    def visits(self) -> int:
        """Of pairs, with a gradient, if every batch is full."""
        return (self.steps or 0) * self.config.training.batch_size // self.rows_per_pair

    @property
    def cost(self) -> int:
        """Of all of it, in forward passes of one response."""
        return self.visits * Passes.of(self.objective).cost


@dataclass(frozen=True)
class PlannedSystem:
    """A way to train, as its runs will be."""

    name: str
    after: str | None
    phases: Mapping[int, tuple[PlannedRun, ...]]
    """By seed, the runs one after the other; the last one leaves the system's model."""

    @cached_property
    def any_phases(self) -> tuple[PlannedRun, ...]:
        """The phases of one seed, which are those of all but for the seed."""
        return next(iter(self.phases.values()))

    @property
    def config(self) -> RunConfig:
        """Of its last phase."""
        return self.any_phases[-1].config

    @property
    def visits(self) -> int:
        """Of pairs, in all phases."""
        return sum(run.visits for run in self.any_phases)

    @property
    def cost(self) -> int:
        """In forward passes of one response."""
        return sum(run.cost for run in self.any_phases)


@dataclass(frozen=True)
class Plan:
    """All runs of a comparison."""

    section: CompareSection
    run: RunConfig
    """What the systems share."""

    systems: tuple[PlannedSystem, ...]
    judge: PlannedRun | None
    """None if it is not to be trained."""

    @property
    def output(self) -> Path:
        """Folder of everything."""
        return Path(self.run.output).expanduser()

    @property
    def runs(self) -> list[PlannedRun]:
        """In the order of training, each once: the judge, then by seed, what others start from first."""
        in_order = [
            run for seed in self.section.seeds for system in self.systems for run in system.phases[seed]
        ]
        once = list({run.path: run for run in in_order}.values())
        return once if self.judge is None else [self.judge, *once]

    @property
    def deviations(self) -> list[str]:
        """In what the systems are not treated alike, in words."""
        return list(_deviations(self.systems, self.section.budget))


def make_plan(loaded: LoadedComparison) -> Plan:
    """What a configuration asks for.

    Raises:
        ConfigError: naming every mistake.
    """
    config = loaded.config
    output, budget, by_name = config.output, config.compare.budget, {one.name: one for one in loaded.systems}
    systems = tuple(
        PlannedSystem(
            one.name,
            one.after,
            {seed: _phases(one, by_name, seed, budget, output) for seed in config.compare.seeds},
        )
        for one in loaded.systems
    )
    return Plan(config.compare, config, systems, _judge(loaded))


def _phases(
    system: System, by_name: Mapping[str, System], seed: int, budget: int, output: str
) -> tuple[PlannedRun, ...]:
    steps = -(-budget // system.configured({}).config.training.batch_size)
    if system.after is None:
        return (_run(system, seed, steps, f"{output}/{RUNS}/{system.name}/seed-{seed}", system.name, steps),)
    first_steps = steps // 2
    first = by_name[system.after]
    start = _run(
        first,
        seed,
        first_steps,
        f"{output}/{STARTS}/{first.name}/seed-{seed}",
        f"{first.name} with half of the budget",
        steps,
        _merging(first),
    )
    rest = _run(
        system,
        seed,
        steps - first_steps,
        f"{output}/{RUNS}/{system.name}/seed-{seed}",
        system.name,
        steps,
        {
            "training.seed": seed + SECOND_PHASE_SEED,
            "model.name": f"{start.config.output}/model",
            "model.revision": None,
            "model.random_init": False,
        },
    )
    return (start, rest)


def _merging(system: System) -> dict[str, object]:
    """What makes a first phase leave a whole model."""
    return {"model.lora.merge": True} if system.configured({}).config.model.lora is not None else {}


def _run(
    system: System,
    seed: int,
    steps: int,
    output: str,
    name: str,
    all_steps: int,
    values: Mapping[str, object] | None = None,
) -> PlannedRun:
    given = system.configured({}).config
    rows_per_pair = _RESPONSES if given.objective.takes_responses_singly else 1
    loaded = system.configured(
        {
            "training.seed": seed,
            "training.max_steps": steps,
            "training.batch_size": given.training.batch_size * rows_per_pair,
            "training.eval_every": given.training.eval_every or max(1, all_steps // EVALUATIONS),
            "output": output,
            **(values or {}),
        }
    )
    return PlannedRun(loaded, f"{name}, seed {seed}", steps, rows_per_pair)


def _judge(loaded: LoadedComparison) -> PlannedRun | None:
    if loaded.judge is None:
        return None
    config = loaded.config
    values = {"training.seed": config.compare.seeds[0], "output": f"{config.output}/{JUDGE}"}
    return PlannedRun(configured(loaded.judge, values), "reward model", None)


def _deviations(systems: Sequence[PlannedSystem], budget: int) -> Iterator[str]:
    for one in systems:
        *before, last = one.any_phases
        passes = Passes.of(last.objective)
        if one.visits != budget:
            yield f"{one.name}: whole batches make {one.visits} visits, and the budget is {budget}"
        if before:
            yield (
                f"{one.name}: starts from {one.after}, with {before[0].visits} of the visits; "
                f"{last.visits} are its own, with seeds {SECOND_PHASE_SEED} higher"
            )
        if last.rows_per_pair > 1:
            yield (
                f"{one.name}: takes the two responses of a pair as two rows, so a step has "
                f"{last.config.training.batch_size} rows"
            )
        if passes.without:
            yield (
                f"{one.name}: {passes.without} responses per visit go through a model without a gradient, "
                "which the budget does not count"
            )
    keys = {
        key: [_setting(one, key) for one in systems] for key in type(systems[0].config.training).model_fields
    }
    for key, values in keys.items():
        if key not in ("seed", "max_steps", "batch_size") and len(set(values)) > 1:
            each = ", ".join(f"{one.name} {value}" for one, value in zip(systems, values, strict=True))
            yield f"training.{key}: {each}"


def _setting(system: PlannedSystem, key: str) -> str:
    return str(getattr(system.config.training, key))
