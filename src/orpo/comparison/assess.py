"""Evaluates what was trained, and the model before training; what is done already is not done again."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from orpo.comparison.base import base_run
from orpo.comparison.evidence import Evidence, Trained
from orpo.comparison.plan import Plan, PlannedSystem
from orpo.comparison.progress import Progress
from orpo.comparison.runs import Failures
from orpo.config.compare import BASE
from orpo.errors import NumericsError
from orpo.run.evaluate import EvaluationRequest, evaluate
from orpo.rundir.evaluations import RUN_EVALUATION, read_evaluation
from orpo.rundir.records import read_run


def assess_all(plan: Plan, failures: Failures, command: str, console: Console | None) -> Evidence:
    """Evaluate every model on the same pairs and prompts.

    Args:
        plan: what was trained.
        failures: runs that have left no model.
        command: for the records.
        console: where to show progress; None shows none.

    Raises:
        NumericsError: all runs have failed.
        OrpoError: see `evaluate`.
        Interrupted: the same call goes on.
    """
    failed = {one.name: dict(_failures(one, failures)) for one in plan.systems}
    trained = [
        (one, seed) for one in plan.systems for seed in plan.section.seeds if seed not in failed[one.name]
    ]
    first = next((run.path for run in plan.runs if run is not plan.judge and run.path not in failures), None)
    if first is None:
        raise NumericsError(
            "all runs have failed: their numbers were not finite", hint="Lower learning rates."
        )
    base = base_run(plan, first)
    places = {(BASE, seed): (base, base / f"{RUN_EVALUATION}-seed-{seed}") for seed in plan.section.seeds} | {
        (one.name, seed): (run := one.phases[seed][-1].path, run / RUN_EVALUATION) for one, seed in trained
    }
    with Progress(console, "evaluation", [1.0] * len(places)) as progress:
        for (name, seed), (target, output) in places.items():
            with progress.piece(f"{name}, seed {seed}"), _quiet():
                evaluate(_request(plan, target, output, seed, command))
    evaluations = {key: read_evaluation(output) for key, (_, output) in places.items()}
    return Evidence(
        plan,
        {seed: evaluations[BASE, seed] for seed in plan.section.seeds},
        {
            one.name: {
                seed: Trained(
                    one.phases[seed],
                    tuple(read_run(run.path) for run in one.phases[seed]),
                    evaluations[one.name, seed],
                )
                for other, seed in trained
                if other is one
            }
            for one in plan.systems
        },
        failed,
    )


def _failures(system: PlannedSystem, failures: Failures) -> Iterator[tuple[int, str]]:
    """Seeds with which a system has failed, and why."""
    for seed, phases in system.phases.items():
        if found := [failures[run.path] for run in phases if run.path in failures]:
            yield seed, found[0]


def _request(plan: Plan, target: Path, output: Path, seed: int, command: str) -> EvaluationRequest:
    section = plan.section.evaluation
    return EvaluationRequest(
        target=str(target),
        output=output,
        prompts=Path(section.prompts).expanduser() if section.prompts is not None else None,
        max_prompts=section.max_prompts,
        samples=section.samples,
        max_new_tokens=section.max_new_tokens,
        temperature=section.temperature,
        embedder=section.embedder,
        seed=seed,
        overwrite=True,  # with other settings it is another evaluation, and of no use beside the others
        command=command,
    )


@contextmanager
def _quiet() -> Generator[None]:
    """Only warnings: each evaluation would say the same of the same data."""
    logger = logging.getLogger("orpo")
    before = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(before)
