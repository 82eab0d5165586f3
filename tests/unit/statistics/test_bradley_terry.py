from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit

from orpo.errors import DataError
from orpo.statistics.bradley_terry import Game, bradley_terry
from orpo.statistics.intervals import Floats

TRUTH = {"sft": -0.8, "orpo": 0.1, "dpo": 0.2, "kto": 0.5}


def play(seed: int, prompts: int) -> list[Game]:
    rng = np.random.default_rng(seed)
    return [
        Game(str(prompt), first, second, float(rng.random() < expit(TRUTH[first] - TRUTH[second])))
        for prompt in range(prompts)
        for first, second in combinations(TRUTH, 2)
    ]


def test_two_systems_differ_by_the_log_odds_of_their_game() -> None:
    games = [Game(str(i), "a", "b", 1.0 if i < 60 else 0.5 if i < 80 else 0.0) for i in range(100)]
    strong, weak = bradley_terry(games, resamples=50)
    assert (strong.name, strong.games) == ("a", 100)
    # 70 of 100, and the tie that is added
    assert strong.logit - weak.logit == pytest.approx(logit(70.5 / 101), abs=1e-6)
    assert strong.logit + weak.logit == pytest.approx(0, abs=1e-9)
    assert strong.elo - weak.elo == pytest.approx(400 * np.log10(70.5 / 30.5), abs=1e-3)


def test_several_systems_have_the_likeliest_strengths() -> None:
    games = play(0, 50)
    names = sorted(TRUTH)

    def loss(logits: Floats) -> float:
        place = dict(zip(names, logits, strict=True))
        ties = [Game("", first, second, 0.5) for first, second in combinations(names, 2)]
        return -sum(
            one.preference * np.log(expit(place[one.first] - place[one.second]))
            + (1 - one.preference) * np.log(expit(place[one.second] - place[one.first]))
            for one in games + ties
        ) + float(logits.sum() ** 2)

    expected = minimize(loss, np.zeros(4), tol=1e-10).x
    found = {one.name: one.logit for one in bradley_terry(games, resamples=50)}
    assert [found[name] for name in names] == pytest.approx(expected, abs=1e-4)


def test_the_table_is_sorted_and_a_seed_determines_it() -> None:
    table = bradley_terry(play(0, 100), seed=3, resamples=50)
    assert [one.logit for one in table] == sorted((one.logit for one in table), reverse=True)
    assert table == bradley_terry(play(0, 100), seed=3, resamples=50)


def test_intervals_cover_the_strengths() -> None:
    covered = [
        not one.interval.excludes(TRUTH[one.name])
        for seed in range(40)
        for one in bradley_terry(play(seed, 60), seed=seed, resamples=99)
    ]
    assert 0.89 <= np.mean(covered) <= 0.99


def test_games_on_one_prompt_are_drawn_together() -> None:
    rng = np.random.default_rng(0)
    outcomes = rng.random(30) < 0.6
    once = [Game(str(i), "a", "b", float(won)) for i, won in enumerate(outcomes)]
    tenfold = [game for game in once for _ in range(10)]
    width = {
        name: table[0].interval.high - table[0].interval.low
        for name, table in (("once", bradley_terry(once)), ("tenfold", bradley_terry(tenfold)))
    }
    assert width["tenfold"] == pytest.approx(width["once"], rel=0.15)


def test_one_that_never_lost_has_a_finite_strength() -> None:
    best, *_ = bradley_terry([Game(str(i), "a", b, 1.0) for i in range(5) for b in "bc"], resamples=50)
    assert best.name == "a"
    assert 1 < best.logit < 5
    assert np.isfinite(best.interval).all()


def test_groups_that_never_met_are_not_put_on_one_scale() -> None:
    with pytest.raises(DataError, match="2 groups that never met: a and b; c and d"):
        bradley_terry([Game("1", "a", "b", 1.0), Game("1", "c", "d", 0.0)])
