from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from orpo.statistics.intervals import Interval, wilson


@pytest.mark.parametrize(("hits", "trials"), [(0, 1), (0, 30), (8, 10), (30, 30), (412, 805)])
def test_wilson_is_scipys(hits: int, trials: int) -> None:
    limits = binomtest(hits, trials).proportion_ci(0.95, method="wilson")
    assert wilson(hits, trials) == pytest.approx((limits.low, limits.high), abs=1e-12)


def test_wilson_is_inside_the_unit_interval_however_it_is_rounded() -> None:
    limits = np.array([wilson(hits, trials) for trials in range(1, 200) for hits in (0, trials)])
    assert limits.min() == 0
    assert limits.max() == 1


def test_a_limit_is_not_excluded() -> None:
    assert not Interval(0.5, 0.6).excludes(0.5)
    assert Interval(0.5, 0.6).excludes(0.49)
    assert Interval(0.5, 0.6).excludes(0.61)


@pytest.mark.parametrize(("trials", "share"), [(10, 0.6), (20, 0.9), (50, 0.6), (200, 0.9)])
def test_wilson_covers_what_it_should(trials: int, share: float) -> None:
    hits = np.random.default_rng(0).binomial(trials, share, size=2000)
    missed = [wilson(int(count), trials).excludes(share) for count in hits]
    assert 0.92 <= 1 - np.mean(missed) <= 0.99
