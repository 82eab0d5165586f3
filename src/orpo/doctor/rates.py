"""Shares with their intervals."""

from __future__ import annotations

from dataclasses import dataclass

from scipy.stats import binomtest

CONFIDENCE = 0.95


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
    def interval(self) -> tuple[float, float]:
        """Lower and upper limit (Wilson 1927)."""
        if not self.trials:
            return 0.0, 1.0
        limits = binomtest(self.hits, self.trials).proportion_ci(CONFIDENCE, method="wilson")
        return float(limits.low), float(limits.high)
