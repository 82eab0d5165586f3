"""Win rate of a system over another one on the same prompts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from orpo.statistics.bootstrap import RESAMPLES, bootstrap_mean
from orpo.statistics.clusters import sum_units
from orpo.statistics.intervals import Floats, Interval, wilson
from orpo.statistics.significance import sign_test

TIE = 0.5
"""The preference of a judge that has none."""


@dataclass(frozen=True)
class WinRate:
    """How often a system is preferred to another one; shares are in [0, 1]."""

    wins: int
    ties: int
    losses: int

    rate: float
    """Mean preference, so a tie counts half."""

    standard_error: float
    """Of the rate; NaN for a single prompt."""

    interval: Interval
    method: Literal["wilson", "bootstrap"]
    """How the interval was found."""

    p_value: float
    """Of the exact sign test over prompts."""

    @property
    def total(self) -> int:
        """Verdicts."""
        return self.wins + self.ties + self.losses

    @property
    def discrete_rate(self) -> float:
        """The rate if each verdict is a win, a loss or half of each, however sure the judge was."""
        return (self.wins + self.ties / 2) / self.total


def win_rate(
    preferences: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> WinRate:
    """The win rate from one verdict per comparison.

    The interval is Wilson's where every verdict is a win or a loss and stands alone.  Else it is the
    bootstrap's, or, where that has nothing to draw from because all prompts came out the same, Wilson's over
    prompts, which is then too wide rather than a point.

    Args:
        preferences: (N,) in [0, 1]: 1 is a win, 0 a loss, 0.5 a tie, the rest as sure as the judge is.
            Verdicts that could not be read are not ties and do not belong here.
        clusters: (N,) labels, equal for comparisons on the same prompt.
        seed: of the bootstrap.
        resamples: of the bootstrap.
    """
    values = np.asarray(preferences, dtype=np.float64)
    assert np.all((values >= 0) & (values <= 1)), "preferences are in [0, 1]"
    units = sum_units(values, clusters)
    means = units.sums / units.counts
    method, interval = _interval(values, means, clusters, seed, resamples)
    return WinRate(
        wins=int((values > TIE).sum()),
        ties=int((values == TIE).sum()),
        losses=int((values < TIE).sum()),
        rate=units.mean,
        standard_error=units.standard_error,
        interval=interval,
        method=method,
        p_value=sign_test(int((means > TIE).sum()), int((means < TIE).sum())),
    )


def _interval(
    values: Floats, means: Floats, clusters: ArrayLike | None, seed: int, resamples: int
) -> tuple[Literal["wilson", "bootstrap"], Interval]:
    alone = len(means) == len(values)
    if np.ptp(means) == 0 or (alone and np.isin(values, (0, 1)).all()):
        return "wilson", wilson(means.sum(), len(means))
    estimate = bootstrap_mean(values, clusters=clusters, seed=seed, resamples=resamples)
    return "bootstrap", estimate.interval
