from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from orpo.statistics.intervals import wilson
from orpo.statistics.winrate import win_rate


def test_ties_count_half() -> None:
    result = win_rate([1, 1, 0.5, 0, 0.9])
    assert (result.wins, result.ties, result.losses, result.total) == (3, 1, 1, 5)
    assert result.rate == pytest.approx(3.4 / 5)
    assert result.discrete_rate == pytest.approx(3.5 / 5)
    assert result.standard_error == pytest.approx(stats.sem([1, 1, 0.5, 0, 0.9]))
    assert result.p_value == pytest.approx(0.625)  # 3 of 4


def test_wins_and_losses_have_wilsons_interval() -> None:
    result = win_rate([1, 1, 1, 0])
    assert result.method == "wilson"
    assert result.interval == wilson(3, 4)


@pytest.mark.parametrize("preferences", [[1, 0.5, 0, 1], [0.9, 0.2, 0.4, 0.7]])
def test_ties_and_degrees_have_the_bootstraps(preferences: list[float]) -> None:
    result = win_rate(preferences)
    assert result.method == "bootstrap"
    assert result.interval.low < result.rate < result.interval.high


def test_verdicts_that_are_all_the_same_are_not_certain() -> None:
    ties = win_rate([0.5, 0.5, 0.5])
    assert ties.method == "wilson"
    assert ties.interval == wilson(1.5, 3)
    assert win_rate([1, 1, 1, 1], clusters=["a", "a", "b", "b"]).interval == wilson(2, 2)


def test_repeated_prompts_are_one_each() -> None:
    preferences = np.random.default_rng(0).choice([0, 1], size=60, p=[0.2, 0.8])
    once = win_rate(preferences)
    thrice = win_rate(np.repeat(preferences, 3), clusters=np.repeat(np.arange(60), 3))
    assert thrice.rate == pytest.approx(once.rate)
    assert thrice.standard_error == pytest.approx(once.standard_error)
    assert thrice.p_value == once.p_value
    assert thrice.interval == pytest.approx(once.interval, abs=0.03)


def test_samples_that_disagree_make_no_wilson_interval() -> None:
    assert win_rate([1, 0, 1, 1], clusters=["a", "a", "b", "b"]).method == "bootstrap"


def test_a_prompt_whose_samples_disagree_evenly_has_no_sign() -> None:
    assert win_rate([1, 0, 1, 1], clusters=["a", "a", "b", "b"]).p_value == 1


@pytest.mark.parametrize("prompts", [20, 60])
def test_the_interval_covers_a_rate_with_ties(prompts: int) -> None:
    missed = []
    for seed in range(300):
        preferences = np.random.default_rng(seed).choice([1, 0.5, 0], size=prompts, p=[0.5, 0.3, 0.2])
        missed.append(win_rate(preferences, resamples=399).interval.excludes(0.65))
    assert 0.90 <= 1 - np.mean(missed) <= 0.99


def test_a_preference_outside_of_0_and_1_is_a_mistake_of_the_caller() -> None:
    with pytest.raises(AssertionError, match="preferences are in"):
        win_rate([1, 2])
    with pytest.raises(AssertionError, match="preferences are in"):
        win_rate([1, np.nan])
