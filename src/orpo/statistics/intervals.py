"""Values with their intervals, and Wilson's interval of a share."""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

CONFIDENCE = 0.95
"""Of every interval."""

NORMAL_QUANTILE = float(ndtri((1 + CONFIDENCE) / 2))
"""Standard errors on either side of a normal estimate."""

Floats: TypeAlias = NDArray[np.float64]


class Interval(NamedTuple):
    """Lower and upper limit, both included."""

    low: float
    high: float

    def excludes(self, value: float) -> bool:
        """Whether `value` is outside."""
        return not self.low <= value <= self.high


@dataclass(frozen=True)
class Estimate:
    """A value, its 95 % interval, and the number of independent units that it rests on."""

    value: float
    interval: Interval
    units: int


def wilson(hits: float, trials: int) -> Interval:
    """The score interval of a share (Wilson 1927); without trials anything is possible.

    For a mean of `trials` values in [0, 1] that sum to `hits` it is wide enough, since no such values vary
    more than zeros and ones with the same mean.
    """
    if not trials:
        return Interval(0.0, 1.0)
    share, z2 = hits / trials, NORMAL_QUANTILE**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = sqrt(share * (1 - share) / trials + z2 / (4 * trials**2)) * NORMAL_QUANTILE / (1 + z2 / trials)
    # Rounding aside, an end is 0 where none hit, and 1 where all did.
    low = max(0.0, centre - half) if hits > 0 else 0.0
    high = min(1.0, centre + half) if hits < trials else 1.0
    return Interval(low, high)
