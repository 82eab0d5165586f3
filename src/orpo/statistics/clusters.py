"""Independent units: samples of one prompt are one of them, however many there are."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from orpo.statistics.intervals import Floats


class Sums(NamedTuple):
    """Sums of values over independent units, and how many values each has."""

    sums: Floats
    counts: Floats

    @property
    def mean(self) -> float:
        """Of all values, each with the same weight."""
        return float(self.sums.sum() / self.counts.sum())

    @property
    def standard_error(self) -> float:
        """Of the mean, which is a ratio of two sums over the units; NaN for fewer than two units.

        With one value per unit it is the usual standard deviation over the root of their number.
        """
        units = len(self.sums)
        if units < 2:
            return float("nan")
        residuals = self.sums - self.mean * self.counts
        return sqrt(units / (units - 1) * (residuals @ residuals)) / float(self.counts.sum())


def sum_units(values: ArrayLike, clusters: ArrayLike | None) -> Sums:
    """Sums over units.

    Args:
        values: (N,) numbers, at least one.
        clusters: (N,) labels, equal for values that depend on each other, such as samples of one prompt;
            None if each value stands alone.
    """
    array = np.asarray(values, dtype=np.float64)
    assert array.ndim == 1
    assert len(array) > 0
    if clusters is None:
        return Sums(array, np.ones_like(array))
    labels = np.unique(np.asarray(clusters), return_inverse=True)[1]
    assert labels.shape == array.shape
    return Sums(np.bincount(labels, array).astype(np.float64), np.bincount(labels).astype(np.float64))
