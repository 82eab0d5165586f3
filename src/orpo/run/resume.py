"""Where a run begins: in an empty directory, or where an earlier process has left it."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from orpo.config import RunConfig, load_config, resolved
from orpo.errors import CheckpointError, ConfigError
from orpo.files import DamagedError
from orpo.ops.distributed import World
from orpo.rundir import RunDirectory, require_free
from orpo.rundir.checkpoints import Checkpoint
from orpo.training.checkpoint.contents import Contents, read_contents

log = logging.getLogger(__name__)

FREE = frozenset(
    {
        "output",
        "data.cache",
        "data.workers",
        "model.lora.merge",
        "training.checkpoint_every",
        "training.compile",
        "training.cpu_offload",
        "training.eval_every",
        "training.gradient_checkpointing",
        "training.keep_checkpoints",
        "training.layout",
        "training.log_every",
        "training.max_tokens",
        "training.parallel",
        "training.report_to",
    }
)
"""Keys that a run may go on with another value of: they say where things are, what is looked at and how
often, and how fast it is and in how much memory.  Whatever is not named here decides what the run learns."""

_FRESH, _COMPLETE = -1, -2


@dataclass(frozen=True)
class Start:
    """Where a run begins."""

    checkpoint: Checkpoint | None = None
    """What to go on from, if not from nothing."""

    is_complete: bool = False
    """Nothing is left to do."""


def find_start(
    config: RunConfig, resume: str | os.PathLike[str] | None, how_to_resume: str, world: World
) -> Start:
    """Where the run of a configuration begins, the same on every process.

    Args:
        config: of the run.
        resume: None for a new run, `auto` for the newest checkpoint that is sound, or the path of one.
        how_to_resume: what the user does to go on with this run, for messages.
        world: this process among its peers.  The main one looks, and holds the lock of the run directory.

    Raises:
        ConfigError: the directory is not free, and nothing is to be resumed.
        CheckpointError: what is to be resumed is damaged, missing, or was configured differently.
    """
    run = RunDirectory(Path(config.output).expanduser())
    if world.is_main:
        start = _look(run, config, resume, how_to_resume)
        anew = _COMPLETE if start.is_complete else _FRESH
        world.smallest(start.checkpoint.step if start.checkpoint else anew)
        return start
    step = world.smallest(2**31)
    if step < 0:
        return Start(is_complete=step == _COMPLETE)
    return Start(run.checkpoints.read(step))


def _look(
    run: RunDirectory, config: RunConfig, resume: str | os.PathLike[str] | None, how_to_resume: str
) -> Start:
    if not run.config.exists():
        require_free(run.path)
        if resume is not None and resume != "auto":
            raise CheckpointError(f"{os.fspath(resume)}: there is no run in {run.path}")
        if resume is not None:
            log.info("%s: nothing to resume; the run starts from the beginning", run.path)
        return Start()
    if resume is None:
        raise _occupied(run, config, how_to_resume)
    run.checkpoints.clear_leftovers()
    if run.is_finished:
        require_same(run, settings_record(load_config(run.config).config), settings_record(config))
        log.info("%s: already complete at step %d", run.path, run.read_summary()["steps"])
        return Start(is_complete=True)
    checkpoint = _newest(run) if resume == "auto" else _named(run, Path(resume))
    if checkpoint is None:
        require_same(run, settings_record(load_config(run.config).config), settings_record(config))
        log.warning("%s: the run stopped before its first checkpoint, and starts over", run.path)
        return Start()
    require_same(run, checkpoint.facts["config"], settings_record(config))
    return Start(checkpoint)


def _occupied(run: RunDirectory, config: RunConfig, how_to_resume: str) -> ConfigError:
    """What is said when a new run is to begin where there is one."""
    other = "or choose another directory with output=PATH."
    try:
        same = not changes(settings_record(load_config(run.config).config), settings_record(config))
    except ConfigError:  # of a release with other keys, say
        same = False
    if not same:
        return ConfigError(
            f"output: {run.path} already holds another run",
            hint=f"Nothing was overwritten. Remove this one, {other}",
        )
    if run.is_finished:
        return ConfigError(
            f"output: {run.path} already holds this run, which is complete",
            hint=f"Nothing was overwritten. Its model is in {run.model}; remove the run, {other}",
        )
    return ConfigError(
        f"output: {run.path} holds this run, which is not finished",
        hint=f"Go on with it: {how_to_resume}\nRemove it to start over, {other}",
    )


def _newest(run: RunDirectory) -> Checkpoint | None:
    checkpoint = run.checkpoints.newest()
    if checkpoint is None and (damaged := run.checkpoints.corrupt()):
        raise CheckpointError(
            f"{run.path}: no checkpoint is sound; damaged: {', '.join(damaged)}",
            hint="Bring one back from a copy, or remove the run directory to start over.",
        )
    return checkpoint


def _named(run: RunDirectory, path: Path) -> Checkpoint:
    """The checkpoint at a path, and no other."""
    path = path.expanduser()
    here = (
        f"Checkpoints of this run: {', '.join(f'step-{step}' for step in run.checkpoints.steps()) or 'none'}"
    )
    if path.resolve().parent != run.checkpoints.path.resolve():
        raise CheckpointError(f"{path} is not a checkpoint in {run.checkpoints.path}", hint=f"{here}.")
    try:
        return run.checkpoints.check(path)
    except DamagedError as damage:
        raise CheckpointError(
            f"{path} is damaged: {damage}", hint=f"{here}. --resume auto takes the newest sound one."
        ) from None


def require_same(run: RunDirectory, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Refuse to go on with a run as another one.

    Args:
        run: for the message.
        before: what decided what the run learns, by dotted keys.
        now: what would decide it from now on.

    Raises:
        CheckpointError: with a table of what has changed.
    """
    if found := changes(before, now):
        table = changes_table(found)
        raise CheckpointError(
            f"{run.path}: the run began with other settings than it would go on with:\n{table}",
            hint="Take back the changes, or start a new run with output=PATH.",
        )


@contextmanager
def read_checkpoint(
    checkpoint: Checkpoint, run: RunDirectory, facts: Mapping[str, Any], world: World
) -> Iterator[Contents]:
    """What a checkpoint holds, if it is of a run that is made of the same; says how exactly it goes on.

    Args:
        checkpoint: to go on from.
        run: that it is of.
        facts: what the run's own checkpoints will say of it.
        world: this process among its peers.

    Raises:
        CheckpointError: the data, the template or the model are not what they were.
    """
    require_same(run, checkpoint.facts["definition"], facts["definition"])
    found = changes(checkpoint.facts["engine"], facts["engine"])
    log.info("going on from %s", checkpoint.path)
    if found:
        log.warning(
            "the order of the pairs and the batches are exactly those of the run so far; sums may round "
            "otherwise, because of %s",
            ", ".join(f"{key} {old} -> {new}" for key, old, new in found),
        )
    with read_contents(checkpoint.path, world, checkpoint.facts["processes"]) as contents:
        yield contents


Change = tuple[str, str, str]
"""A dotted key, and its value before and now, as JSON."""


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Change]:
    """What differs between two mappings of dotted keys."""
    keys = [*before, *(key for key in now if key not in before)]
    pairs = [(key, before.get(key), now.get(key)) for key in keys]
    return [(key, json.dumps(old), json.dumps(new)) for key, old, new in pairs if old != new]


def changes_table(found: Sequence[Change]) -> str:
    """The changes, one on a line."""
    width = max(len(key) for key, _, _ in found)
    return "\n".join(f"  {key:{width}}  {old} -> {new}" for key, old, new in found)


def settings_record(config: RunConfig) -> dict[str, Any]:
    """What of a configuration decides what a run learns, by dotted keys."""
    return {key: value for key, value in flat(resolved(config)).items() if key not in FREE}


def flat(values: Mapping[str, Any]) -> dict[str, Any]:
    """Nested mappings and lists under dotted keys, as JSON would bring them back."""
    return dict(_leaves(json.loads(json.dumps(values)), ""))


def _leaves(value: Any, key: str) -> Iterator[tuple[str, Any]]:
    items: Iterator[tuple[object, Any]] | None = None
    if isinstance(value, dict):
        items = iter(cast(dict[str, Any], value).items())
    elif isinstance(value, list):
        items = enumerate(cast(list[Any], value))
    if items is None:
        yield key, value
    else:
        for name, child in items:
            yield from _leaves(child, f"{key}.{name}" if key else str(name))
