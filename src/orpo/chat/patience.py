"""How long to wait before a request is sent again, alone and together."""

from __future__ import annotations

import random
import threading
import time
from dataclasses import dataclass

LONGEST_ASKED = 600.0
"""Seconds that a server may ask us to wait; with more, it does not answer."""


@dataclass(frozen=True)
class Patience:
    """Exponential backoff: each wait is about twice the one before."""

    retries: int = 5
    first_wait: float = 1.0
    """Seconds."""

    longest_wait: float = 60.0
    """Seconds."""

    def wait(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt, the first of which is 0.

        At random in the upper half of what it may be, so that requests which failed together are not sent
        together again.
        """
        return min(self.first_wait * 2**attempt, self.longest_wait) * random.uniform(0.5, 1.0)


class Gate:
    """Where several threads wait until they may go on."""

    def __init__(self) -> None:
        self._closed = threading.Event()
        self._lock = threading.Lock()
        self._opens_at = 0.0

    def hold(self, seconds: float) -> None:
        """Let nobody pass for so long."""
        with self._lock:
            self._opens_at = max(self._opens_at, time.monotonic() + seconds)

    def close(self) -> None:
        """Let nobody pass again, and wake who waits."""
        self._closed.set()

    def passes(self, after: float = 0.0) -> bool:
        """Wait for so many seconds, and while all are held; False if the gate is closed."""
        if after and self._closed.wait(after):
            return False
        while (left := self._opens_at - time.monotonic()) > 0:
            if self._closed.wait(left):
                return False
        return not self._closed.is_set()
