"""Figures of pairs: means with intervals over prompts, whole and in parts."""

from __future__ import annotations

import math

import numpy as np
import pytest

from orpo.evaluation.figures import mean, pairs_evaluation, share
from orpo.rundir.evaluations import PairsEvaluation
from orpo.statistics.bootstrap import bootstrap_mean
from orpo.statistics.rates import Rate

RNG = np.random.default_rng(0)
TOKENS = RNG.integers(1, 30, (40, 2)).astype(np.int32)
SUMS = (-TOKENS * RNG.uniform(0.2, 3.0, (40, 2))).astype(np.float32)
SOURCES = ["a"] * 30 + ["b"] * 10


def figures(prompts: list[int] | None = None, *, are_rewards: bool = False) -> PairsEvaluation:
    return pairs_evaluation(SUMS, TOKENS, prompts or list(range(40)), SOURCES, are_rewards=are_rewards)


def test_log_probabilities_are_averaged_over_tokens_and_then_over_pairs() -> None:
    found = figures()
    chosen, rejected = (SUMS / TOKENS).T.astype(np.float64)
    assert found.accuracy.value == np.mean(chosen > rejected)
    assert found.margin.value == pytest.approx(np.mean(chosen - rejected))
    odds = [a - math.log1p(-math.exp(a)) - b + math.log1p(-math.exp(b)) for a, b in (SUMS / TOKENS)]
    assert found.log_odds is not None
    assert found.log_odds.value == pytest.approx(np.mean(odds), rel=1e-5)
    assert found.logps_chosen is not None
    assert found.logps_chosen.value == pytest.approx(chosen.mean())
    assert found.rewards_chosen is None


def test_intervals_are_those_of_the_statistics() -> None:
    found = figures()
    chosen, rejected = (SUMS / TOKENS).T.astype(np.float64)
    assert found.margin.interval == pytest.approx(bootstrap_mean(chosen - rejected).interval, rel=1e-5)
    assert found.accuracy.interval == pytest.approx(Rate(int((chosen > rejected).sum()), 40).interval)
    assert found.accuracy.method == "Wilson over 40 prompts"


def test_pairs_of_one_prompt_are_one_observation_of_several() -> None:
    apart, together = figures(), figures([number // 8 for number in range(40)])
    assert together.margin.value == apart.margin.value
    assert together.margin.interval != apart.margin.interval
    assert together.accuracy.method == "BCa bootstrap over 5 prompts"


def test_rewards_are_not_averaged_over_tokens() -> None:
    found = figures(are_rewards=True)
    assert found.rewards_chosen is not None
    assert found.rewards_chosen.value == pytest.approx(SUMS[:, 0].mean(), rel=1e-6)
    assert found.logps_chosen is found.log_odds is None


def test_parts_are_all_of_the_pairs() -> None:
    found = figures()
    assert [(part.name, part.count) for part in found.by_source] == [("a", 30), ("b", 10)]
    assert sum(part.count for part in found.by_length) == 40
    assert len(found.by_length) == 4
    longest = TOKENS.max(axis=1)
    for part in found.by_length:
        inside = (longest >= part.bounds[0]) & (longest <= part.bounds[1])
        assert part.count == inside.sum()
        assert part.margin.value == pytest.approx(np.mean((SUMS / TOKENS) @ [1, -1], where=inside))


def test_equal_lengths_are_one_part() -> None:
    tokens = np.full((5, 2), 3, dtype=np.int32)
    found = pairs_evaluation(SUMS[:5], tokens, range(5), ["a"] * 5, are_rewards=False)
    assert [part.bounds for part in found.by_length] == [(3, 3)]


def test_of_one_prompt_alone_there_is_no_interval() -> None:
    assert mean([2.0]).interval is None
    assert mean([2.0, 3.0], [1, 1]).interval is None
    assert share([1, 1, 0]).value == pytest.approx(2 / 3)
