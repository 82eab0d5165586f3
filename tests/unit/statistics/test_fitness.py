from __future__ import annotations

import numpy as np
import pytest

from orpo.statistics.fitness import Fitness, fitness_to_judge
from orpo.statistics.intervals import Floats

PAIRS = 400


def lengths(rng: np.random.Generator, longer_chosen: float) -> Floats:
    """(2, pairs) of chosen and rejected responses."""
    chosen, rejected = rng.integers(1, 100, (2, PAIRS))
    swap = (chosen > rejected) != (rng.random(PAIRS) < longer_chosen)
    return np.where(swap, (rejected, chosen), (chosen, rejected)).astype(np.float64)


def judge(accuracy: float, longer_chosen: float = 0.5) -> Fitness:
    rng = np.random.default_rng(1)
    margins = np.where(rng.random(PAIRS) < accuracy, 1.0, -1.0)
    return fitness_to_judge(margins, *lengths(rng, longer_chosen))


def test_a_judge_that_knows_more_than_chance_and_length_is_fit() -> None:
    found = judge(0.7)
    assert found.accuracy.rate == pytest.approx(0.7, abs=0.05)
    assert found.fit


def test_a_judge_at_chance_is_not() -> None:
    found = judge(0.5)
    assert not found.beats_chance
    assert not found.fit


def test_a_judge_no_better_than_length_is_not_however_accurate() -> None:
    found = judge(0.8, longer_chosen=0.8)
    assert found.beats_chance
    assert not found.beats_length
    assert not found.fit


def test_a_judge_that_is_only_length_differs_from_it_nowhere() -> None:
    chosen, rejected = lengths(np.random.default_rng(0), 0.7)
    found = fitness_to_judge(chosen - rejected, chosen, rejected)
    assert found.p_value == 1
    assert not found.fit


def test_where_shorter_responses_win_that_is_the_rule_to_beat() -> None:
    chosen, rejected = lengths(np.random.default_rng(0), 0.2)
    found = fitness_to_judge(rejected - chosen, chosen, rejected)
    assert found.rule == "shorter wins"
    assert found.rule_accuracy.rate > 0.7
    assert not found.fit


def test_equal_rewards_and_equal_lengths_are_half_right() -> None:
    found = fitness_to_judge([0, 1, 1], [4, 4, 5], [4, 4, 4])
    assert found.accuracy.rate == pytest.approx(2.5 / 3)
    assert found.rule_accuracy.rate == pytest.approx(2 / 3)


def test_pairs_of_one_prompt_do_not_make_a_judge_fit() -> None:
    margins, chosen, rejected = np.repeat([[1, 1, 1, -1], [1, 2, 1, 2], [2, 1, 2, 1]], 30, axis=1)
    assert fitness_to_judge(margins, chosen, rejected).fit
    together = fitness_to_judge(margins, chosen, rejected, clusters=np.repeat(np.arange(4), 30))
    assert together.p_value > 0.05
    assert not together.beats_length
