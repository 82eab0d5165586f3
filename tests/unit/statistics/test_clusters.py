from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from orpo.statistics.clusters import sum_units

RNG = np.random.default_rng(0)
VALUES = RNG.normal(size=40)


def test_without_clusters_the_error_is_the_usual_one() -> None:
    units = sum_units(VALUES, None)
    assert units.mean == pytest.approx(VALUES.mean())
    assert units.standard_error == pytest.approx(stats.sem(VALUES), rel=1e-14)


def test_clusters_of_one_change_nothing() -> None:
    alone = sum_units(VALUES, RNG.permutation(40))
    assert alone.standard_error == pytest.approx(stats.sem(VALUES))


def test_copies_of_a_value_are_no_new_information() -> None:
    tripled = sum_units(np.repeat(VALUES, 3), np.repeat(np.arange(40), 3))
    assert tripled.mean == pytest.approx(VALUES.mean())
    assert tripled.standard_error == pytest.approx(stats.sem(VALUES))


def test_labels_may_be_names_in_any_order() -> None:
    units = sum_units([1, 2, 3], ["b", "a", "b"])
    assert units.sums.tolist() == [2, 4]
    assert units.counts.tolist() == [1, 2]


def test_one_unit_has_no_error() -> None:
    assert math.isnan(sum_units([1, 2], ["a", "a"]).standard_error)
