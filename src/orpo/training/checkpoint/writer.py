"""Saving a checkpoint: all processes together, and never at the cost of an older one."""

from __future__ import annotations

import errno
import logging
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path
from typing import Any

from orpo.errors import ResourceError
from orpo.files import is_want_of_space
from orpo.ops.distributed import World
from orpo.rundir.checkpoints import CheckpointFolder
from orpo.training.checkpoint.contents import Contents, file_names, write_contents

log = logging.getLogger(__name__)

ROOM = 1.2
"""Free space that is wanted for a checkpoint, relative to its size."""

PAUSES = (1.0, 4.0)
"""Seconds before a save is tried again that the system has refused for another reason than want of space."""


class _Outcome(IntEnum):
    """How a part of a save ended; what all processes make of it is the least of theirs."""

    REFUSED = 0
    NO_SPACE = 1
    DONE = 2


@dataclass(frozen=True)
class CheckpointWriter:
    """Saves the checkpoints of a run.

    Args:
        folder: where they go, which every process sees.
        world: this process among its peers.
        keep: how many to keep; None keeps all.
        facts: what every manifest says of the run; JSON.
    """

    folder: CheckpointFolder
    world: World
    keep: int | None
    facts: Mapping[str, Any]

    def save(self, step: int, collect: Callable[[], Contents], *, best: int | None) -> bool:
        """Save a checkpoint on all processes, and then remove those that are not kept.

        Args:
            step: that it is of.
            collect: gives what it holds, or an OSError.
            best: a step whose checkpoint is kept too.

        Returns:
            Whether there was room for it; if not, a warning has said so.

        Raises:
            ResourceError: the system refused, again and again, for another reason.
        """
        refusals: list[str] = []
        pauses = iter(PAUSES)
        while (outcome := self._attempt(step, collect, refusals)) is not _Outcome.DONE:
            if self.world.is_main:
                self.folder.discard(step)
            reason = refusals[-1] if refusals else "another process could not write"
            if outcome is _Outcome.NO_SPACE:
                log.warning(
                    "step %d: no checkpoint: %s; the run goes on, and older ones are kept", step, reason
                )
                return False
            pause = next(pauses, None)
            if pause is None:
                raise ResourceError(
                    f"{self.folder.at(step)} cannot be written: {reason}",
                    hint="Check the disk and the permissions; all processes need to see the run directory. "
                    "The checkpoints of earlier steps are as they were.",
                )
            log.warning("step %d: the checkpoint could not be written: %s; trying again", step, reason)
            time.sleep(pause)
        if self.world.is_main:
            self.folder.keep(self.keep, best)
        return True

    def _attempt(self, step: int, collect: Callable[[], Contents], refusals: list[str]) -> _Outcome:
        def make_room() -> None:
            nonlocal contents
            contents = collect()
            if self.world.is_main:
                self.folder.path.mkdir(parents=True, exist_ok=True)
                require_room(self.folder.path, contents.size)
                self.folder.stage(step)

        def write() -> None:
            assert contents is not None
            write_contents(self.folder.staged(step), contents, self.world)

        def commit() -> None:
            assert contents is not None
            if self.world.is_main:
                names = file_names(self.world.size, is_sharded=contents.is_sharded)
                self.folder.commit(step, names, {**self.facts, "processes": self.world.size})

        contents: Contents | None = None
        for part in (make_room, write, commit):
            outcome = self._together(part, refusals)
            if outcome is not _Outcome.DONE:
                return outcome
        return _Outcome.DONE

    def _together(self, part: Callable[[], None], refusals: list[str]) -> _Outcome:
        """Do a part of a save, and return once every process has done its own."""
        try:
            part()
            outcome = _Outcome.DONE
        except OSError as error:
            refusals.append(error.strerror or str(error))
            outcome = _Outcome.NO_SPACE if is_want_of_space(error) else _Outcome.REFUSED
        return _Outcome(self.world.smallest(outcome))


def require_room(folder: Path, size: int) -> None:
    """Refuse to begin a checkpoint that would not fit.

    Args:
        folder: on the disk in question; it or a parent is there.
        size: bytes of the checkpoint.

    Raises:
        OSError: there is too little space.
    """
    there = next(place for place in (folder, *folder.parents) if place.exists())
    free = shutil.disk_usage(there).free
    if free < ROOM * size:
        raise OSError(errno.ENOSPC, f"need {_in_words(ROOM * size)}, have {_in_words(free)}")


def _in_words(size: float) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"
