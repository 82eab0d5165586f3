"""Optimizer steps of several training loops, each in a process of its own, one after the other in turn."""

from __future__ import annotations

import multiprocessing
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from signal import SIGKILL
from typing import Any

import torch
from transformers import TrainerCallback

from .ours import Side
from .workload import Workload


@dataclass
class Measured:
    """Optimizer steps of one side."""

    seconds: list[float] = field(default_factory=list)
    """From the start of the forward pass to the end of the update; collation and logging are not in it."""

    losses: list[float] = field(default_factory=list)


@contextmanager
def environment(variables: Mapping[str, str]) -> Iterator[None]:
    """What processes that are started inside find in their environment."""
    before = dict(os.environ)
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


class SideFailedError(Exception):
    """A side ended before its last step; its own message is above, unless the system has killed it."""

    def __init__(self, name: str, exit_code: int | None) -> None:
        killed = "; all sides are in memory at once: name fewer with --sides" if exit_code == -SIGKILL else ""
        super().__init__(f"{name} ended with exit code {exit_code}{killed}")


class StepClock(TrainerCallback):
    """In a side's process: takes each step in its turn and says how long it took."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        # Only here does a turn end, so that logging and collating are nobody else's time.
        self._parent.send(("ready", 0.0))
        self._parent.recv()
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self._parent.send(("seconds", time.perf_counter() - self._started))

    def on_log(self, *_: Any, **details: Any) -> None:
        if "loss" in details["logs"]:
            self._parent.send(("loss", float(details["logs"]["loss"])))


def _train(side: Side, workload: Workload, threads: int, parent: Connection) -> None:
    torch.set_num_threads(threads)
    side.train(workload, len(workload), StepClock(parent))
    parent.send(("ready", 0.0))
    with suppress(EOFError):
        parent.recv()  # to end would give gigabytes back to the system, in the time of the next side's step


def alternate(
    sides: Mapping[str, Side], workload: Workload, tell: Callable[[str], None]
) -> dict[str, Measured]:
    """Train all sides on the batches of `workload`: a step of each, then the next step of each.

    Every side's own loop runs as it would alone, with a heap and threads of its own; while one takes a step
    the others wait.

    Args:
        sides: by name, in the order of their turns.
        workload: a step per batch.
        tell: called with a line of progress after each step.

    Raises:
        SideFailedError: names the side that failed.
    """
    context = multiprocessing.get_context("spawn")
    measured = {name: Measured() for name in sides}
    children: dict[str, Connection] = {}
    processes: dict[str, BaseProcess] = {}

    def finish_turn(name: str) -> None:
        """Take what a side says until it is ready for its next step, or done."""
        kind = ""
        while kind != "ready":
            try:
                kind, value = children[name].recv()
            except EOFError:
                processes[name].join()
                raise SideFailedError(name, processes[name].exitcode) from None
            if kind == "loss":
                measured[name].losses.append(value)
            if kind == "seconds":
                measured[name].seconds.append(value)
                tell(f"step {len(measured[name].seconds)}: {name} {value:.2f} s")

    try:
        for name, side in sides.items():
            children[name], theirs = context.Pipe()
            process = context.Process(target=_train, args=(side, workload, torch.get_num_threads(), theirs))
            with environment(side.variables):
                process.start()
            theirs.close()
            processes[name] = process
            finish_turn(name)
        for _ in range(len(workload)):
            for name, child in children.items():
                child.send("go")
                finish_turn(name)
    finally:
        for process in processes.values():
            process.kill()
            process.join()
    return measured
