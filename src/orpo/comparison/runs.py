"""Trains what a plan asks for; what is done already is not done again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.console import Console

from orpo.comparison.child import train_in_child
from orpo.comparison.plan import Plan, PlannedRun
from orpo.comparison.progress import Progress
from orpo.config import load_config
from orpo.errors import CheckpointError, NumericsError
from orpo.run.resume import require_same, settings_record
from orpo.rundir import RunDirectory
from orpo.rundir.directory import FAILURE, SUMMARY

log = logging.getLogger(__name__)

LOGS = "logs"
"""Folder in the output for what the runs say."""

Failures = Mapping[Path, str]
"""Why a run has left no model, by its directory."""


def train_all(plan: Plan, console: Console | None) -> Failures:
    """Train every run of a plan that is not finished.

    A run whose numbers are not finite has failed, once and for all, and so has what starts from it; the
    others go on.

    Raises:
        OrpoError: what ends a run otherwise, and a directory that holds a run with other settings.
        Interrupted: the same call goes on.
    """
    runs = plan.runs
    for run in runs:
        _require_ours(run)
    done = [run for run in runs if is_over(run)]
    waiting = [run for run in runs if not is_over(run)]
    if done:
        log.info("%d of %d runs are done already", len(done), len(runs))
    failures = {run.path: _FAILED for run in done if not RunDirectory(run.path).is_finished}
    sizes = [_size(run, runs) for run in (*done, *waiting)]
    with Progress(console, "run", sizes, len(done)) as progress:
        for index, run in enumerate(waiting):
            following = waiting[index + 1].label if index + 1 < len(waiting) else None
            with progress.piece(run.label, following):
                if reason := _train(plan, run, failures, progress):
                    failures[run.path] = reason
                    log.warning("%s: %s", run.label, reason)
    return failures


_FAILED = "its numbers were not finite in an earlier call; remove its directory to train it again"


def _train(plan: Plan, run: PlannedRun, failures: Failures, progress: Progress) -> str | None:
    """Why there is no model, if there is none."""
    if Path(run.config.model.name).parent in failures:
        return "the run that it starts from has failed"
    steps = run.steps
    try:
        train_in_child(
            run.loaded,
            plan.output / LOGS / f"{_slug(plan, run)}.log",
            (lambda step: progress.at(step, steps)) if steps else lambda _: None,
        )
    except NumericsError as error:
        return error.message
    checkpoints = RunDirectory(run.path).checkpoints.path
    if checkpoints.exists():  # the run is finished, and nothing goes on from there
        shutil.rmtree(checkpoints)
    return None


def _slug(plan: Plan, run: PlannedRun) -> str:
    return "-".join(run.path.relative_to(plan.output).parts)


def is_over(run: PlannedRun) -> bool:
    """Whether it is finished, or has failed in a way that it would again."""
    directory = RunDirectory(run.path)
    return directory.is_finished or ((run.path / FAILURE).exists() and (run.path / SUMMARY).exists())


def _require_ours(run: PlannedRun) -> None:
    """Refuse a directory that holds another run.

    Raises:
        CheckpointError: with a table of what is different.
    """
    directory = RunDirectory(run.path)
    if not directory.config.exists():
        return
    before = settings_record(load_config(directory.config).config)
    try:
        require_same(directory, before, settings_record(run.config))
    except CheckpointError as error:
        raise CheckpointError(
            error.message,
            hint="Take back the changes, remove that directory to train it again, "
            "or choose another place for the comparison with output=PATH.",
        ) from None


def _size(run: PlannedRun, runs: Sequence[PlannedRun]) -> float:
    """Work of a run; a judge is taken for the largest of the others."""
    return run.cost or max(one.cost for one in runs)
