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
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from orpo import errors
from orpo.config import LoadedConfig, RunConfig
from orpo.errors import EXIT_AT_ONCE, Interrupted, OrpoError
from orpo.interruption import postponed, requested
from orpo.text import printable

_LOOK_EVERY = 0.2
"""Seconds between looks at whether this process was asked to end."""


@dataclass(frozen=True)
class _Step:
    """Done by the run."""

    number: int


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
        process.start()
        sending.close()
        end = _attend(process, receiving, on_step)
        process.join()
    receiving.close()
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
        context.set_forkserver_preload(["orpo.run", __name__])
    return context


def _attend(process: Any, receiving: Connection, on_step: Callable[[int], None]) -> _End:
    """Pass on what comes from the process, and to it the signals that this one gets."""
    passed_on = False
    while True:
        if (asked := requested()) and not passed_on:
            passed_on = True
            os.kill(process.pid, asked)
        if not receiving.poll(_LOOK_EVERY):
            if process.is_alive():
                continue
            if not receiving.poll(0):
                return _died(process)
        try:
            message = receiving.recv()
        except EOFError:
            process.join()
            return _died(process)
        if not isinstance(message, _Step):
            return message
        on_step(message.number)


def _died(process: Any) -> _End:
    """What is known of a process that ended without a word."""
    code = process.exitcode
    if requested():
        return _Stop("the run's process was ended before it could save")
    why = f"signal {signal.Signals(-code).name}" if code is not None and code < 0 else f"exit code {code}"
    return _Refusal(
        "ResourceError",
        f"the run's process has ended by {why}, without a word",
        "The system ends processes when memory is short: lower training.max_tokens.",
    )


# In the process


class _Reporter(TrainerCallback):
    """Tells the steps."""

    def __init__(self, sending: Connection) -> None:
        self._sending = sending

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self._sending.send(_Step(state.global_step))


def _work(sending: Connection, config: RunConfig, provenance: Mapping[str, str], log: Path) -> None:
    """What the process does; it says how it ended, and nothing on the terminal."""
    if hasattr(os, "setpgrp"):
        os.setpgrp()  # Ctrl-C reaches the parent alone, which passes it on
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _write_log(log)
    end: _End = None
    try:
        _train(config, provenance, _Reporter(sending))
    except OrpoError as error:
        end = _Refusal(type(error).__name__, error.message, error.hint)
    except Interrupted as stop:
        end = _Stop(stop.reason)
    except Exception:  # noqa: BLE001  whatever it is, the parent has to be told
        end = _Fault(traceback.format_exc())
    sending.send(end)
    sending.close()


def _train(config: RunConfig, provenance: Mapping[str, str], reporter: _Reporter) -> None:
    from orpo.run import train

    train(LoadedConfig(config, provenance), callbacks=[reporter], resume="auto")


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
