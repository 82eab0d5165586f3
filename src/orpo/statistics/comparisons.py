"""Several systems: each pair of them, and which differences are more than chance."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike

from orpo.statistics.bootstrap import RESAMPLES, bootstrap_difference
from orpo.statistics.intervals import Interval
from orpo.statistics.significance import LEVEL, holm, sign_flip_test
from orpo.statistics.winrate import TIE, WinRate


@dataclass(frozen=True)
class Comparison:
    """One pair of a family of comparisons."""

    first: str
    second: str

    difference: float
    """Positive if `first` has more."""

    interval: Interval
    """Of this difference alone, not corrected."""

    p_value: float
    """Of this difference alone."""

    corrected: float
    """Holm's p-value, corrected for all comparisons of the family."""

    @property
    def significant(self) -> bool:
        """Whether the difference is more than chance, given how many were looked at."""
        return self.corrected < LEVEL


def compare_scores(
    scores: Mapping[str, ArrayLike],
    *,
    clusters: ArrayLike | None = None,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> list[Comparison]:
    """Every pair of systems by their scores on the same items: difference of means and sign-flip test.

    Args:
        scores: for each system (N,) values, of the same items in the same order.
        clusters: (N,) labels, equal for items that depend on each other, such as samples of one prompt.
        seed: of the bootstrap and of the test.
        resamples: of the bootstrap.
    """
    arrays = {name: np.asarray(values, dtype=np.float64) for name, values in scores.items()}
    found: list[Comparison] = []
    for first, second in combinations(arrays, 2):
        pair = arrays[first], arrays[second]
        estimate = bootstrap_difference(*pair, clusters=clusters, seed=seed, resamples=resamples)
        p_value = sign_flip_test(pair[0] - pair[1], clusters=clusters, seed=seed)
        found.append(Comparison(first, second, estimate.value, estimate.interval, p_value, p_value))
    return _corrected(found)


def compare_win_rates(rates: Mapping[tuple[str, str], WinRate]) -> list[Comparison]:
    """Pairs of systems by a judge's verdicts: win rate above one half, and sign test.

    Args:
        rates: for (first, second) the win rate of the first over the second.
    """
    return _corrected(
        [
            Comparison(
                first,
                second,
                one.rate - TIE,
                Interval(one.interval.low - TIE, one.interval.high - TIE),
                one.p_value,
                one.p_value,
            )
            for (first, second), one in rates.items()
        ]
    )


def _corrected(found: list[Comparison]) -> list[Comparison]:
    corrected = holm([one.p_value for one in found])
    return [replace(one, corrected=float(p)) for one, p in zip(found, corrected, strict=True)]
