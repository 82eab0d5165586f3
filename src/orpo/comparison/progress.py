"""What is being done, what comes next, and about how long it will take."""

from __future__ import annotations

import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.status import Status

from orpo.text import duration, printable


class Progress:
    """Work in pieces of known size, on one line of a terminal, or a line for each piece elsewhere.

    Args:
        console: where; None shows nothing.
        what: one of the pieces, such as `run`.
        sizes: of the pieces, in any unit that time is proportional to.
        done: pieces that were done before.
    """

    def __init__(self, console: Console | None, what: str, sizes: Sequence[float], done: int = 0) -> None:
        self._console, self._what, self._sizes = console, what, sizes
        self._count = done
        self._started = time.monotonic()
        self._left = sum(sizes[done:])
        self._worked = 0.0
        self._status: Status | None = None
        self._name, self._next = "", ""

    def __enter__(self) -> Self:
        if self._console is not None and self._console.is_terminal:
            self._status = self._console.status("")
            self._status.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._status is not None:
            self._status.stop()

    @contextmanager
    def piece(self, name: str, then: str | None = None) -> Generator[None]:
        """One piece of work, in the order of their sizes; `then` is the next one."""
        self._name, self._next = name, "" if then is None else f" · then {then}"
        self._show("", 0.0)
        if self._status is None:
            self._say(self._line("", 0.0))
        yield
        size = self._sizes[self._count]
        self._count += 1
        self._left -= size
        self._worked += size

    def at(self, step: int, steps: int) -> None:
        """How far the piece is."""
        self._show(f", step {step} of {steps}", step / steps)

    def _show(self, where: str, share: float) -> None:
        if self._status is not None:
            self._status.update(self._line(where, share))

    def _line(self, where: str, share: float) -> str:
        size = self._sizes[self._count]
        worked, left = self._worked + share * size, self._left - share * size
        seconds = time.monotonic() - self._started
        estimate = f" · about {duration(seconds / worked * left)} left" if worked else ""
        number = f"{self._what} {self._count + 1} of {len(self._sizes)}"
        return printable(f"{number}: {self._name}{where}{self._next}{estimate}")

    def _say(self, line: str) -> None:
        if self._console is not None:
            self._console.print(line, markup=False)
