"""One process at a time in a run directory, and its name for the others."""

from __future__ import annotations

import json
import logging
import os
import socket
from collections.abc import Generator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from orpo.errors import ConfigError
from orpo.files import replace_file
from orpo.rundir.directory import HOLDER, LOCK, require_directory, writing

log = logging.getLogger(__name__)


@contextmanager
def locked(path: Path, *, option: str = "output=PATH") -> Generator[None]:
    """Let no other process use a run directory meanwhile; make it if it is not there.

    The system gives the lock back when its holder ends, however it ends, so a holder that is written down but
    holds no lock is dead.  What was made only for the lock goes away with it.

    Args:
        path: of the run directory.
        option: how the user chooses another one, for the message.

    Raises:
        ConfigError: another process has it, or it is no directory.
        ResourceError: the directory cannot be written.
    """
    lock, holder = FileLock(path / LOCK), path / HOLDER
    require_directory(path, option=option)
    with writing(path):
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise _taken(path, option) from None
        if (dead := _read(holder)) is not None:
            log.info("%s: %s ended without giving its lock back; it is taken over", path, _name(dead))
        replace_file(holder, json.dumps(_this_process()).encode())
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        (path / LOCK).unlink(missing_ok=True)  # while it is held: who waits for it notices and tries again
        if not any(path.iterdir()):
            path.rmdir()
        lock.release()


def _this_process() -> dict[str, Any]:
    since = datetime.now(UTC).isoformat(timespec="seconds")
    return {"pid": os.getpid(), "host": socket.gethostname(), "since": since}


def _taken(path: Path, option: str) -> ConfigError:
    holder = _read(path / HOLDER)
    return ConfigError(
        f"output: {path} is locked by {_name(holder) if holder else 'another process'}",
        hint=f"Wait until that process ends, or choose another directory with {option}.",
    )


def _name(holder: dict[str, Any]) -> str:
    return f"pid {holder.get('pid')} on {holder.get('host')} since {holder.get('since')}"


def _read(holder: Path) -> dict[str, Any] | None:
    """Who has the lock, or had it and died; None if nobody has, or is about to say so."""
    try:
        return json.loads(holder.read_bytes())
    except (FileNotFoundError, ValueError):
        return None
