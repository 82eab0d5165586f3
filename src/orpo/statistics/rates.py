"""Shares with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

from orpo.statistics.intervals import Interval, wilson


@dataclass(frozen=True)
class Rate:
    """A share of trials, with its 95 % Wilson interval; without trials anything is possible."""

    hits: int
    trials: int

    @property
    def value(self) -> float:
        """The share; one half without trials."""
        return self.hits / self.trials if self.trials else 0.5

    @property
    def interval(self) -> Interval:
        """Lower and upper limit (Wilson 1927)."""
        return wilson(self.hits, self.trials)
