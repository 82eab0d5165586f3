"""A training run in a process of its own.

The most memory that a process has held is known of the process as a whole, and freed memory stays with it:
runs in one process could not be compared.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch

from orpo import errors
from orpo.config import LoadedConfig, RunConfig
from orpo.errors import EXIT_AT_ONCE, Interrupted, OrpoError
from orpo.interruption import postponed, requested
from orpo.text import printable

# PEFT imports it where it is installed, and it tells of kernels that it could not load: here, in the process
# that others are forked from, before anybody could ask it to be quiet.
logging.getLogger("bitsandbytes").setLevel(logging.ERROR)

_LOOK_EVERY = 0.2
"""Seconds between looks at whether this process was asked to end."""


@dataclass(frozen=True)
class _Refusal:
    """The run's `OrpoError`."""

    kind: str
    message: str
    hint: str | None


@dataclass(frozen=True)
class _Stop:
    """The run was interrupted."""

    reason: str


@dataclass(frozen=True)
class _Fault:
    """A fault of our own."""

    trace: str


_End = _Refusal | _Stop | _Fault | None


def train_in_child(loaded: LoadedConfig, log: Path, on_step: Callable[[int], None]) -> None:
    """Begin a run or go on with it, until its end.

    Args:
        loaded: its configuration.
        log: where what it says goes; what was said before is kept.
        on_step: told the steps done.

    Raises:
        OrpoError: the run's own.
        Interrupted: this process was asked to end, and what was done is saved.
    """
    context = _context()
    receiving, sending = context.Pipe(duplex=False)
    arguments = (sending, loaded.config, dict(loaded.provenance), log)
    process = context.Process(target=_work, args=arguments, daemon=True)
    with postponed():
        end = _start(process) or _attend(process, sending, receiving, on_step)
    match end:
        case _Refusal():
            raise getattr(errors, end.kind)(end.message, hint=end.hint)
        case _Stop():
            raise Interrupted(end.reason, resumable=True)
        case _Fault():
            raise RuntimeError(f"a run failed:\n{end.trace}")
        case None:
            return


def _context() -> Any:
    """How processes come about: forked from one that has imported all, which takes no time, where that is
    possible; a device's driver does not survive a fork."""
    forked = "forkserver" in multiprocessing.get_all_start_methods() and not torch.cuda.is_available()
    context = multiprocessing.get_context("forkserver" if forked else "spawn")
    if forked:
        context.set_forkserver_preload([__name__, "orpo.comparison.reporter", "orpo.run"])
    return context


def _start(process: Any) -> _End:
    """Begin; the end, if that is it: the process that others are forked from may have been ended with us."""
    try:
        process.start()
    except (EOFError, OSError) as error:
        if requested():
            return _Stop("before a run could begin")
        return _Refusal(
            "ResourceError", f"no process could be started: {error or type(error).__name__}", None
        )
    return None


def _attend(process: Any, sending: Connection, receiving: Connection, on_step: Callable[[int], None]) -> _End:
    """Pass on what comes from the process, and to it the signals that this one gets."""
    sending.close()  # so that the process has the only one, and its end ends the pipe
    passed_on = False
    with receiving:
        while True:
            if (asked := requested()) and not passed_on:
                passed_on = True
                with suppress(ProcessLookupError):  # it may have come to its end meanwhile
                    os.kill(process.pid, asked)
            if not receiving.poll(_LOOK_EVERY):
                continue
            try:
                message = receiving.recv()
            except EOFError:
                return _died(process)
            if not isinstance(message, int):
                process.join()
                return message
            on_step(message)


def _died(process: Any) -> _End:
    """What is known of a process that ended without a word."""
    if requested():
        return _Stop("the run's process was ended before it could save")
    process.join()
    code = process.exitcode
    why = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    return _Refusal(
        "ResourceError",
        f"the run's process has ended by {why}, without a word",
        "The system ends processes when memory is short: lower training.max_tokens.",
    )


# In the process


def _work(sending: Connection, config: RunConfig, provenance: Mapping[str, str], log: Path) -> None:
    """What the process does; it says how it ended, and nothing on the terminal."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches the parent alone, which passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_log(log)
    end: _End = None
    try:
        _train(config, provenance, sending)
    except OrpoError as error:
        end = _Refusal(type(error).__name__, error.message, error.hint)
    except Interrupted as stop:
        end = _Stop(stop.reason)
    except Exception:  # noqa: BLE001  whatever it is, the parent has to be told
        end = _Fault(traceback.format_exc())
    sending.send(end)
    sending.close()


def _train(config: RunConfig, provenance: Mapping[str, str], sending: Connection) -> None:
    from orpo.comparison.reporter import Reporter
    from orpo.run import train

    train(LoadedConfig(config, provenance), callbacks=[Reporter(sending.send)], resume="auto")


def _end_with_parent() -> None:
    """Nobody would wait for the run if its parent were gone."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    parent.join()
    os._exit(EXIT_AT_ONCE)


def _write_log(path: Path) -> None:
    """Send what is said, by us and by libraries, to a file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    file = path.open("a", encoding="utf-8", errors="backslashreplace")
    sys.stdout.flush()
    os.dup2(file.fileno(), 1)
    os.dup2(file.fileno(), 2)
    handler = logging.StreamHandler(file)
    handler.setFormatter(_Formatter("%(message)s"))
    logger = logging.getLogger("orpo")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False


class _Formatter(logging.Formatter):
    """Line by line without what a terminal would obey."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(map(printable, super().format(record).split("\n")))
