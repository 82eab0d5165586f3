"""The folder of checkpoints: each is committed whole, checked before it is used, and outlived by a newer one.

    step-N/             what there is to go on from step N, and `manifest.json`, which vouches for every file
    step-N.partial/     a checkpoint on its way, or what an interrupted save has left of one
    step-N.removed/     a checkpoint that is being deleted
    step-N.corrupt/     a checkpoint that is not what was written, kept for people to look at

What is in a checkpoint is its writer's business; see `orpo.training.checkpoint`.
"""

from __future__ import annotations

import logging
import os
import re
import shutil
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orpo.files import DamagedError, read_sealed, sha256_of, sync, write_sealed

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"

SCHEMA_VERSION = 1
"""Of the manifest and of all files that it names; grows when a reader has to change."""

_NAME = re.compile(r"step-(\d+)")
_CORRUPT = re.compile(r"step-\d+\.corrupt(-\d+)?")
_LEFTOVER = re.compile(r"step-\d+\.(partial|removed)")

_PICKLES = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
"""How pickles begin, and the archives in which torch.save puts them."""


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint whose files are what was written."""

    path: Path
    step: int

    facts: Mapping[str, Any]
    """What its writer said of the run; see `CheckpointFolder.commit`."""


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoints of one run; one process at a time changes it."""

    path: Path

    def at(self, step: int) -> Path:
        """Where the checkpoint of a step is, or would be."""
        return self.path / f"step-{step}"

    def steps(self) -> list[int]:
        """The steps that there are checkpoints of, sound or not, newest first."""
        if not self.path.is_dir():
            return []
        names = [_NAME.fullmatch(path.name) for path in self.path.iterdir() if path.is_dir()]
        return sorted((int(name[1]) for name in names if name), reverse=True)

    # Writing

    def staged(self, step: int) -> Path:
        """Where the files of a checkpoint are written before it is committed."""
        return self.path / f"step-{step}.partial"

    def stage(self, step: int) -> None:
        """Make an empty folder for the files of a checkpoint.

        Raises:
            OSError: the system refused.
        """
        self.discard(step)
        self.staged(step).mkdir(parents=True)

    def discard(self, step: int) -> None:
        """Remove what was written of a checkpoint that is not committed."""
        shutil.rmtree(self.staged(step), ignore_errors=True)

    def commit(self, step: int, names: Collection[str], facts: Mapping[str, Any]) -> None:
        """Make the staged files the checkpoint of a step, all of them or none.

        Args:
            step: that has no checkpoint yet.
            names: of the files, each of which outlasts a power cut already.
            facts: what the manifest is to say beside; JSON.

        Raises:
            OSError: the system refused, or a file is not there.
        """
        staged = self.staged(step)
        files = {name: _describe(staged / name) for name in sorted(names)}
        manifest = {"schema_version": SCHEMA_VERSION, "step": step, "files": files, "facts": dict(facts)}
        write_sealed(staged / MANIFEST, manifest, durable=True)
        sync(staged)
        os.replace(staged, self.at(step))
        sync(self.path)

    # Reading

    def read(self, step: int) -> Checkpoint:
        """The checkpoint of a step, which another process has checked.

        Raises:
            DamagedError: its manifest is missing, or not what was written.
        """
        manifest = _manifest(self.at(step))
        return Checkpoint(self.at(step), step, manifest["facts"])

    def check(self, path: Path) -> Checkpoint:
        """A checkpoint of this folder, every byte of it compared with its manifest.

        Raises:
            DamagedError: a file is missing, is not what was written, or is not named by the manifest.
        """
        manifest = _manifest(path)
        files: Mapping[str, Mapping[str, Any]] = manifest["files"]
        for unknown in sorted(item for item in path.iterdir() if item.name not in {*files, MANIFEST}):
            raise DamagedError(f"{unknown.name} is {_kind(unknown)} that {MANIFEST} does not name")
        for name, record in files.items():
            _compare(path / name, record)
        return Checkpoint(path, manifest["step"], manifest["facts"])

    def newest(self) -> Checkpoint | None:
        """The newest checkpoint that is what was written; newer ones that are not are put out of the way."""
        for step in self.steps():
            try:
                return self.check(self.at(step))
            except DamagedError as damage:
                moved = self._put_aside(step)
                log.warning("%s is damaged: %s; it is now %s", self.at(step), damage, moved.name)
        return None

    def corrupt(self) -> list[str]:
        """The names of the damaged checkpoints that were put out of the way."""
        if not self.path.is_dir():
            return []
        return sorted(path.name for path in self.path.iterdir() if _CORRUPT.fullmatch(path.name))

    # Tidying

    def keep(self, count: int | None, best: int | None = None) -> None:
        """Remove all but the newest checkpoints.

        Args:
            count: how many to keep; None keeps all.
            best: a step whose checkpoint is kept too.
        """
        if count is not None:
            self._remove([step for step in self.steps()[count:] if step != best])

    def remove_after(self, step: int) -> list[int]:
        """Remove the checkpoints of later steps than `step`, and say which there were."""
        later = [one for one in self.steps() if one > step]
        self._remove(later)
        return later

    def clear_leftovers(self) -> None:
        """Remove what interrupted saves and removals have left; nothing may be under way."""
        if self.path.is_dir():
            for path in self.path.iterdir():
                if _LEFTOVER.fullmatch(path.name):
                    shutil.rmtree(path, ignore_errors=True)

    def _remove(self, steps: Sequence[int]) -> None:
        """Delete checkpoints, which never look like damaged ones meanwhile."""
        for step in steps:
            doomed = self.path / f"step-{step}.removed"
            os.replace(self.at(step), doomed)
            shutil.rmtree(doomed, ignore_errors=True)

    def _put_aside(self, step: int) -> Path:
        number, target = 1, self.path / f"step-{step}.corrupt"
        while target.exists():
            number += 1
            target = self.path / f"step-{step}.corrupt-{number}"
        os.replace(self.at(step), target)
        return target


def _manifest(path: Path) -> dict[str, Any]:
    manifest = read_sealed(path / MANIFEST)
    if manifest["schema_version"] != SCHEMA_VERSION:
        raise DamagedError(
            f"{MANIFEST} has schema version {manifest['schema_version']}, expected {SCHEMA_VERSION}"
        )
    if path.name != f"step-{manifest['step']}":
        raise DamagedError(f"{MANIFEST} is of step {manifest['step']}")
    return manifest


def _describe(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": sha256_of(path)}


def _compare(path: Path, record: Mapping[str, Any]) -> None:
    try:
        size = path.stat().st_size
        sha256 = sha256_of(path) if size == record["size"] else None
    except OSError as error:
        raise DamagedError(f"{path.name}: {error.strerror or error}") from None
    if sha256 == record["sha256"]:
        return
    if _is_pickle(path):
        raise DamagedError(f"{path.name} is a pickle, which is never read")
    difference = f"{size} of {record['size']} bytes" if sha256 is None else "other content of the same size"
    raise DamagedError(f"{path.name} is not what was written ({difference})")


def _kind(path: Path) -> str:
    return "a pickle" if path.is_file() and _is_pickle(path) else "something"


def _is_pickle(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(4).startswith(_PICKLES)
