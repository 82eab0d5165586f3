from __future__ import annotations

import pytest

from orpo.statistics.rates import Rate


def test_the_interval_is_wilsons() -> None:
    # 8 of 10 at 95 %: (0.4902, 0.9433), the textbook example.
    assert Rate(8, 10).interval == pytest.approx((0.4902, 0.9433), abs=1e-4)


def test_a_share_of_one_still_has_an_interval() -> None:
    low, high = Rate(5, 5).interval
    assert 0.5 < low < 0.6
    assert high == pytest.approx(1)


def test_without_trials_everything_is_possible() -> None:
    assert Rate(0, 0).value == 0.5
    assert Rate(0, 0).interval == (0.0, 1.0)
