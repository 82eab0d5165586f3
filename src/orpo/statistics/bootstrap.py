"""Bootstrap intervals of means and of differences of means (Efron 1987: bias-corrected and accelerated)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri

from orpo.statistics.clusters import Sums, sum_units
from orpo.statistics.intervals import NORMAL_QUANTILE, Estimate, Floats, Interval

RESAMPLES = 4999
"""Enough for limits that move by less than a thirtieth of the interval's width from seed to seed."""

_ROUNDING = 1e-12
"""Share by which values differ that are equal but for rounding."""

_MOST_DRAWN_AT_ONCE = 2**22
"""Numbers of the resamples that are in memory together."""


def bootstrap_mean(
    values: ArrayLike, *, clusters: ArrayLike | None = None, seed: int = 0, resamples: int = RESAMPLES
) -> Estimate:
    """The mean of `values` with its interval.

    Args:
        values: (N,) numbers, at least one.
        clusters: (N,) labels; values with the same label are drawn together, since they depend on each other.
        seed: of the resamples.
        resamples: how many.

    Returns:
        The mean, each value with the same weight.  Where all units have the same mean the interval is that
        point; of one unit alone it is everything.
    """
    units = sum_units(values, clusters)
    number = len(units.sums)
    if number == 1:
        return Estimate(units.mean, Interval(-np.inf, np.inf), 1)
    means = units.sums / units.counts
    if np.ptp(means) <= _ROUNDING * np.abs(means).max():
        return Estimate(units.mean, Interval(units.mean, units.mean), number)
    drawn = np.sort(_resampled_means(units, seed, resamples))
    low, high = np.quantile(drawn, _levels(units, drawn))
    return Estimate(units.mean, Interval(float(low), float(high)), number)


def bootstrap_difference(
    first: ArrayLike,
    second: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> Estimate:
    """The mean of `first` minus `second`, values of two systems on the same items, with its interval.

    Items are drawn with both their values, so what makes an item hard for both does not widen the interval.
    Arguments as for `bootstrap_mean`.
    """
    difference = np.asarray(first, dtype=np.float64) - np.asarray(second, dtype=np.float64)
    return bootstrap_mean(difference, clusters=clusters, seed=seed, resamples=resamples)


def _resampled_means(units: Sums, seed: int, resamples: int) -> Floats:
    """(resamples,) means over as many units as there are, drawn with replacement."""
    rng, number = np.random.default_rng(seed), len(units.sums)
    at_once = max(1, _MOST_DRAWN_AT_ONCE // number)
    means: list[Floats] = []
    for start in range(0, resamples, at_once):
        drawn = rng.integers(number, size=(min(at_once, resamples - start), number))
        means.append(units.sums[drawn].sum(axis=1) / units.counts[drawn].sum(axis=1))
    return np.concatenate(means)


def _levels(units: Sums, drawn: Floats) -> Floats:
    """Quantiles of the resampled means that are the interval's limits (Efron 1987, Eq. 6.8).

    The acceleration is the jackknife's; a mean without one unit needs no pass over the others.
    """
    below = (np.searchsorted(drawn, units.mean) + np.searchsorted(drawn, units.mean, side="right")) / 2
    bias = ndtri(np.clip(below, 1, len(drawn) - 1) / len(drawn))
    without = (units.sums.sum() - units.sums) / (units.counts.sum() - units.counts)
    influence = without.mean() - without
    acceleration = (influence**3).sum() / (6 * (influence**2).sum() ** 1.5)
    limits = bias + np.array([-NORMAL_QUANTILE, NORMAL_QUANTILE])
    return ndtr(bias + limits / (1 - acceleration * limits))
