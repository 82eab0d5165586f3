"""Optimizer steps of several training loops in one process, one after the other in turn."""

from __future__ import annotations

import ctypes
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Condition
from typing import Any

from transformers import TrainerCallback

from .sides import Side
from .workload import Workload

M_ARENA_MAX = -8
"""Of mallopt(3)."""


class OtherSideFailedError(Exception):
    """Another thread has failed, so that going on is of no use."""


class Turns:
    """Lets threads run one at a time, in a fixed order.

    Args:
        names: of the threads, in their order.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self._order = deque(names)
        self._changed = Condition()
        self._failed = False

    @contextmanager
    def taking_part(self, name: str) -> Iterator[None]:
        """Enter with the first turn of `name`, and leave the order at the end."""
        try:
            self._wait(name)
            yield
        except OtherSideFailedError:
            pass
        except BaseException:
            self._failed = True
            raise
        finally:
            with self._changed:
                self._order.remove(name)
                self._changed.notify_all()

    def next_turn(self, name: str) -> None:
        """End the turn of `name`, and return when it comes again."""
        with self._changed:
            self._order.rotate(-1)
            self._changed.notify_all()
        self._wait(name)

    def _wait(self, name: str) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._failed or self._order[0] == name)
            if self._failed:
                raise OtherSideFailedError


@dataclass
class Measured:
    """Optimizer steps of one side."""

    seconds: list[float] = field(default_factory=list)
    """From the start of the forward pass to the end of the update; collation and logging are not in it."""

    losses: list[float] = field(default_factory=list)


class StepClock(TrainerCallback):
    """Measures the steps of one side, each in its turn."""

    def __init__(self, name: str, turns: Turns, tell: Callable[[str], None]) -> None:
        self.measured = Measured()
        self._name = name
        self._turns = turns
        self._tell = tell
        self._started = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        # Only here does a turn end, so that logging and collating are nobody else's time.
        self._turns.next_turn(self._name)
        self._started = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        seconds = time.perf_counter() - self._started
        self.measured.seconds.append(seconds)
        self._tell(f"step {len(self.measured.seconds)}: {self._name} {seconds:.2f} s")

    def on_log(self, *_: Any, **details: Any) -> None:
        if "loss" in details["logs"]:
            self.measured.losses.append(details["logs"]["loss"])


def alternate(sides: dict[str, Side], workload: Workload, tell: Callable[[str], None]) -> dict[str, Measured]:
    """Train all sides on the batches of `workload`: a step of each, then the next step of each.

    Every side's own loop runs, in a thread of its own; callbacks hand over from one to the next.

    Args:
        sides: by name, in the order of their turns.
        workload: a step per batch.
        tell: called with a line of progress after each step.
    """
    if sys.platform == "linux":
        # Threads share one heap, as if each loop were alone in the main thread.
        ctypes.CDLL(None).mallopt(M_ARENA_MAX, 1)
    turns = Turns(list(sides))
    clocks = {name: StepClock(name, turns, tell) for name in sides}

    def train(name: str) -> None:
        with turns.taking_part(name):
            sides[name].train(workload, len(workload), clocks[name])

    with ThreadPoolExecutor(len(sides)) as pool:
        for future in [pool.submit(train, name) for name in sides]:
            future.result()
    return {name: clock.measured for name, clock in clocks.items()}
