"""What the answers of an API cost, and where to stop."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass

from orpo.chat.replies import Reply
from orpo.errors import ConfigError, NetworkError

_MILLION = 1e6


@dataclass(frozen=True)
class Prices:
    """Money per million tokens, in the user's currency."""

    prompt: float
    completion: float


@dataclass(frozen=True)
class Usage:
    """Tokens of answers, as the service counts them, and their price."""

    answers: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    uncounted: int = 0
    """Answers for which the service did not say, so the rest is a lower limit."""

    cost: float | None = None
    """None without prices."""

    def __add__(self, other: Usage) -> Usage:
        return Usage(
            self.answers + other.answers,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            self.uncounted + other.uncounted,
            None if self.cost is None or other.cost is None else self.cost + other.cost,
        )


def usage_of(replies: Iterable[Reply], prices: Prices | None) -> Usage:
    """What these answers have cost."""
    given = list(replies)
    prompt = sum(one.prompt_tokens or 0 for one in given)
    completion = sum(one.completion_tokens or 0 for one in given)
    cost = (prompt * prices.prompt + completion * prices.completion) / _MILLION if prices else None
    return Usage(len(given), prompt, completion, sum(map(_is_uncounted, given)), cost)


def _is_uncounted(reply: Reply) -> bool:
    return reply.prompt_tokens is None or reply.completion_tokens is None


@dataclass(frozen=True)
class Limits:
    """Where to stop; None is nowhere.

    Requests under way are waited for, so that the cost may end above its limit by theirs.
    """

    requests: int | None = None
    cost: float | None = None


class Account:
    """What this process has asked and paid; several threads may use it.

    Raises:
        ConfigError: cost is limited, and there are no prices to tell it by.
    """

    def __init__(self, prices: Prices | None, limits: Limits) -> None:
        if limits.cost is not None and prices is None:
            raise ConfigError(
                "--max-cost needs the price of a million tokens",
                hint="Add --price PROMPT COMPLETION, or limit the requests with --max-requests.",
            )
        self.requests = 0
        self._prices = prices
        self._limits = limits
        self.usage = usage_of([], prices)
        """Of the answers until now."""

        self._lock = threading.Lock()

    def price(self, replies: Iterable[Reply]) -> Usage:
        """What these answers have cost, whenever that was."""
        return usage_of(replies, self._prices)

    def admit(self) -> str | None:
        """Count one request that is about to be sent; if a limit forbids it, the limit, in words."""
        with self._lock:
            if self._limits.requests is not None and self.requests >= self._limits.requests:
                return f"--max-requests {self._limits.requests} is reached"
            cost = self.usage.cost
            if self._limits.cost is not None and cost is not None and cost >= self._limits.cost:
                return f"--max-cost {self._limits.cost:g} is reached"
            self.requests += 1
            return None

    def book(self, reply: Reply) -> None:
        """Note an answer.

        Raises:
            NetworkError: cost is limited, and the service does not say what the answer cost.
        """
        with self._lock:
            self.usage += usage_of([reply], self._prices)
        if self._limits.cost is not None and _is_uncounted(reply):
            raise NetworkError(
                "the service does not say how many tokens an answer took, so --max-cost cannot be kept",
                hint="Use --max-requests.",
            )
