from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orpo.statistics.significance import holm, sign_flip_test, sign_test


def test_the_sign_test_is_exact() -> None:
    # 8 of 10: 2 * (1 + 10 + 45) / 1024
    assert sign_test(8, 2) == pytest.approx(112 / 1024)
    assert sign_test(2, 8) == sign_test(8, 2)
    assert sign_test(5, 5) == 1
    assert sign_test(0, 0) == 1


def test_few_signs_are_all_tried() -> None:
    # Of the 16 assignments of signs to 1, 2, 3, 4 two are as far from 0 as all plus.
    assert sign_flip_test([1.0, 2.0, 3.0, 4.0]) == pytest.approx(2 / 16)


@pytest.mark.parametrize(("units", "tolerance"), [(12, 1e-12), (60, 0.02)])
def test_the_sign_flip_test_is_scipys(units: int, tolerance: float) -> None:
    differences = np.random.default_rng(0).normal(0.2, 1, size=units)
    theirs = stats.permutation_test((differences,), np.sum, permutation_type="samples", rng=1).pvalue
    assert sign_flip_test(differences) == pytest.approx(theirs, abs=tolerance)


def test_without_a_difference_nothing_is_significant() -> None:
    assert sign_flip_test([0.0, 0.0, 0.0]) == 1
    assert sign_flip_test([3.0]) == 1


def test_copies_do_not_make_a_difference_more_significant() -> None:
    differences = np.random.default_rng(0).normal(0.3, 1, size=12)
    copied = sign_flip_test(np.repeat(differences, 5), clusters=np.repeat(np.arange(12), 5))
    assert copied == pytest.approx(sign_flip_test(differences))
    assert sign_flip_test(np.repeat(differences, 5)) < copied


def test_chance_differences_are_called_significant_as_rarely_as_promised() -> None:
    p_values = np.array(
        [sign_flip_test(np.random.default_rng(i).normal(size=10), seed=i) for i in range(300)]
    )
    assert 0.02 <= np.mean(p_values < 0.05) <= 0.09


def test_holm_is_the_textbooks() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.7, 0.6]) == pytest.approx([1, 1])
    assert len(holm([])) == 0


def test_with_holm_a_family_of_chances_seldom_holds_a_false_one() -> None:
    chances = np.random.default_rng(0).random((2000, 10))
    assert np.mean([(holm(row) < 0.05).any() for row in chances]) < 0.065
    assert np.mean((chances < 0.05).any(axis=1)) > 0.35
