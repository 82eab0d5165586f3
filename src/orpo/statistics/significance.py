"""P-values: the exact sign test, the sign-flip test of a mean, and Holm's correction for several of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from orpo.statistics.clusters import sum_units
from orpo.statistics.intervals import Floats

LEVEL = 0.05
"""A (corrected) p-value below it is called significant."""

FLIPS = 9999
"""Random sign assignments where there are too many for all of them; the least p-value is then 1 / 10,000."""

_MOST_SIGNS_AT_ONCE = 2**22


def sign_test(wins: int, losses: int) -> float:
    """Two-sided exact p-value for wins and losses being equally likely; ties say nothing about it.

    With the two kinds of discordant pairs as wins and losses it is McNemar's exact test.
    """
    return float(stats.binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def sign_flip_test(differences: ArrayLike, *, clusters: ArrayLike | None = None, seed: int = 0) -> float:
    """Two-sided p-value for paired differences being symmetric about zero, by their mean.

    All assignments of signs to units are tried if there are at most `FLIPS`, else as many random ones.

    Args:
        differences: (N,) paired differences, at least one.
        clusters: (N,) labels; differences with the same label change sign together.
        seed: of the random signs.
    """
    sums = sum_units(differences, clusters).sums
    # Sums of the same numbers in another order differ by rounding.
    as_far = abs(sums.sum()) - 1e-9 * np.abs(sums).sum()
    if 2 ** len(sums) <= FLIPS:
        every = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums)) & 1
        return float(np.mean(np.abs(_flipped(every, sums)) >= as_far))
    rng, at_once = np.random.default_rng(seed), max(1, _MOST_SIGNS_AT_ONCE // len(sums))
    reached = 0
    for start in range(0, FLIPS, at_once):
        drawn = rng.integers(2, size=(min(at_once, FLIPS - start), len(sums)), dtype=np.int8)
        reached += int((np.abs(_flipped(drawn, sums)) >= as_far).sum())
    return (1 + reached) / (1 + FLIPS)


def _flipped(signs: NDArray[np.integer], sums: Floats) -> Floats:
    """(assignments,) sums in which units with a one in `signs` (assignments, units) change sign."""
    return sums.sum() - 2 * signs.astype(np.float64) @ sums


def holm(p_values: Sequence[float]) -> Floats:
    """P-values corrected for their number (Holm 1979).

    If those below a level are believed, the chance that any of them is false is at most that level.
    """
    values = np.asarray(p_values, dtype=np.float64)
    order = np.argsort(values, kind="stable")
    steps = (len(values) - np.arange(len(values))) * values[order]
    corrected = np.empty_like(values)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return corrected
