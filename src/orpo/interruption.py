"""Ctrl-C, SIGTERM and SIGUSR1, which schedulers send before they take a machine away.

Work that is done again from the start ends at once, by an `Interrupted` in the main thread.  Work within
`postponed` is only asked, by `requested`, and ends where it can be taken up again.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from types import FrameType

from orpo.errors import EXIT_AT_ONCE, Interrupted

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGUSR1") if hasattr(signal, name))
"""What asks a process to end; Windows lacks some."""

_SHOW_CURSOR = b"\x1b[?25h"


class _Listener:
    """What this process has been sent since it began to listen."""

    def __init__(self) -> None:
        self.request: signal.Signals | None = None
        """The first signal."""

        self.postponing = 0
        self._interrupts = 0

    def receive(self, number: int, frame: FrameType | None) -> None:
        """The handler of every signal: called in the main thread, between two of Python's instructions."""
        received = signal.Signals(number)
        first = self.request is None
        self.request = self.request or received
        self._interrupts += received is signal.SIGINT
        if received is signal.SIGINT and self._interrupts > 1:
            raise KeyboardInterrupt
        if first and not self.postponing:  # a later one must not disturb the end that the first began
            raise Interrupted(_sent(received))


_listener: _Listener | None = None


@contextmanager
def listening() -> Generator[None]:
    """Handle the signals, unless they are handled already or this is not the main thread.

    A second Ctrl-C raises a plain KeyboardInterrupt wherever the main thread is.

    Raises:
        Interrupted: a signal came, and nothing postponed it.
    """
    global _listener
    if _listener is not None or threading.current_thread() is not threading.main_thread():
        yield
        return
    _listener = _Listener()
    before = {number: signal.signal(number, _listener.receive) for number in SIGNALS}
    try:
        yield
    finally:
        _listener = None
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def postponed() -> Generator[None]:
    """Only note the signals that come meanwhile, for `requested` to tell."""
    listener = _listener
    if listener is None:
        yield
        return
    listener.postponing += 1
    try:
        yield
    finally:
        listener.postponing -= 1


def requested() -> int:
    """The number of the signal that has asked this process to end, or 0."""
    return 0 if _listener is None or _listener.request is None else int(_listener.request)


def describe(number: int, *, rank: int = 0, ranks: int = 1) -> str:
    """Who was asked to end by what, in words.

    Args:
        number: of the signal.
        rank: of the process that it was sent to.
        ranks: how many processes there are.
    """
    return _sent(signal.Signals(number)) + (f" to process {rank} of {ranks}" if ranks > 1 else "")


def _sent(received: signal.Signals) -> str:
    return "Ctrl-C" if received is signal.SIGINT else received.name


@contextmanager
def ending_at_second_interrupt(say: Callable[[str], None]) -> Generator[None]:
    """End the process with `EXIT_AT_ONCE` at a second Ctrl-C, whatever the main thread is doing.

    Handlers written in Python wait until the main thread is back from a kernel or from a collective whose
    peer is gone, which may be never.  So a thread is told of signals by the system itself.  Files are
    written beside their target and renamed, so an end at any moment leaves each as it was or as it shall be.

    Args:
        say: told once, at the first signal, what a second one does; called in the thread.
    """
    if threading.current_thread() is not threading.main_thread() or sys.platform == "win32":
        yield
        return
    receiving, sending = os.pipe()
    os.set_blocking(sending, False)
    before = signal.set_wakeup_fd(sending, warn_on_full_buffer=False)
    threading.Thread(target=_end_at_second, args=(receiving, say), daemon=True).start()
    try:
        yield
    finally:
        signal.set_wakeup_fd(before)
        os.close(sending)  # which ends the thread


def _end_at_second(receiving: int, say: Callable[[str], None]) -> None:
    interrupts, asked = 0, False
    while numbers := os.read(receiving, 64):
        interrupts += numbers.count(signal.SIGINT)
        if interrupts > 1:
            if sys.stderr.isatty():
                os.write(2, _SHOW_CURSOR)  # a progress bar may have hidden it
            os.write(2, b"\nended at once\n")
            os._exit(EXIT_AT_ONCE)
        if not asked and any(number in numbers for number in SIGNALS):
            asked = True
            say("asked to end: as soon as the work can be taken up again; Ctrl-C again ends at once")
    os.close(receiving)


def leave() -> None:
    """For the interpreter's own end, some seconds: Ctrl-C does not wait for it, other signals are too late.

    The system itself ends the process then, which shells report as `EXIT_AT_ONCE` too.
    """
    for number in SIGNALS:
        signal.signal(number, signal.SIG_DFL if number is signal.SIGINT else signal.SIG_IGN)


def _forget() -> None:
    """In a forked process: it is not the one that was asked, and its signals are not its parent's."""
    if _listener is not None:
        signal.set_wakeup_fd(-1)
        for number in SIGNALS:
            signal.signal(number, signal.SIG_DFL)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)
