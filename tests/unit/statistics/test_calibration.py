from __future__ import annotations

import numpy as np
import pytest
from scipy.special import expit

from orpo.statistics.calibration import calibrate, calibrate_margins


def test_the_figures_are_the_definitions() -> None:
    found = calibrate([0.2, 0.4, 0.6, 0.8], [0, 1, 1, 1], bins=2)
    assert [one.confidence for one in found.bins] == pytest.approx([0.3, 0.7])
    assert [one.accuracy.value for one in found.bins] == [0.5, 1]
    assert found.error == pytest.approx((0.2 + 0.3) / 2)
    assert found.brier.value == pytest.approx((0.04 + 0.36 + 0.16 + 0.04) / 4)


def test_bins_hold_equally_many_and_none_is_empty() -> None:
    chances = np.random.default_rng(0).beta(20, 1, size=1003)
    assert {one.accuracy.trials for one in calibrate(chances, np.ones(1003)).bins} == {100, 101}
    assert len(calibrate([0.5, 0.6], [0, 1]).bins) == 2


def test_a_judge_that_means_what_it_says_has_a_small_error() -> None:
    rng = np.random.default_rng(0)
    chances = rng.random(20_000)
    honest = calibrate(chances, rng.random(20_000) < chances)
    boastful = calibrate(np.where(chances > 0.5, 0.99, 0.01), rng.random(20_000) < chances)
    assert honest.error < 0.02
    assert honest.brier.value == pytest.approx(1 / 6, abs=0.005)
    assert boastful.error > 0.15


def test_a_reward_model_is_looked_at_from_the_side_it_prefers() -> None:
    rng = np.random.default_rng(0)
    margins = rng.normal(0, 2, size=20_000)
    right_way = np.where(rng.random(20_000) < expit(margins), margins, -margins)
    # Seen from the chosen side, each outcome would be 1.
    found = calibrate_margins(right_way)
    assert found.error < 0.02
    assert found.bins[0].confidence >= 0.5
    assert calibrate_margins(3 * right_way).error > 0.1


def test_pairs_without_a_preference_say_nothing() -> None:
    assert calibrate_margins([0, 0, 1, -1, 2]) == calibrate_margins([1, -1, 2])
