"""Strengths of several systems from comparisons of two, with intervals (Bradley and Terry 1952)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from evalica import Winner
from evalica import bradley_terry as maximum_likelihood
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components

from orpo.errors import DataError
from orpo.statistics.intervals import CONFIDENCE, Floats, Interval
from orpo.text import printable

RESAMPLES = 1000

_MOST_ITERATIONS = 100_000
_ELO_PER_LOGIT = 400 / np.log(10)


@dataclass(frozen=True)
class Game:
    """One comparison of two systems."""

    item: str
    """What they were compared on, such as the prompt; games on one item are drawn together."""

    first: str
    second: str
    preference: float
    """1 if the first won, 0 if the second did, 0.5 for a tie; fractions as sure as the judge is."""


@dataclass(frozen=True)
class Strength:
    """A system's place among those that were compared."""

    name: str
    games: int
    logit: float
    """Log-odds of a win over an average system of the table; two differ by the log-odds of their game."""

    interval: Interval
    """Of the logit, from resampled items."""

    @property
    def elo(self) -> float:
        """The same on the scale of chess, where 1,000 is average and 400 more are odds of 10 to 1."""
        return 1000 + _ELO_PER_LOGIT * self.logit


def bradley_terry(games: Sequence[Game], *, seed: int = 0, resamples: int = RESAMPLES) -> list[Strength]:
    """The strengths of all systems in `games`, the strongest first.

    A tie is half a win each.  One more tie is added to each pair of systems that met, so that one that never
    lost has a finite strength, in resamples too; it draws the strengths together, by little where there are
    many games.

    Raises:
        DataError: the systems fall into groups that never met, so that no one scale holds them.
    """
    names = sorted({name for game in games for name in (game.first, game.second)})
    wins = _wins_by_item(games, names)
    met = (wins.sum(axis=0) + wins.sum(axis=0).T) > 0
    _require_one_group(met, names)
    prior = met / 2
    rng = np.random.default_rng(seed)
    draws = rng.multinomial(len(wins), np.full(len(wins), 1 / len(wins)), size=resamples)
    logits = _logits(wins.sum(axis=0) + prior)
    resampled = np.stack([_logits(np.tensordot(draw, wins, axes=1) + prior) for draw in draws])
    lows, highs = np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0)
    table = [
        Strength(
            name,
            sum(name in (game.first, game.second) for game in games),
            float(logits[i]),
            Interval(float(lows[i]), float(highs[i])),
        )
        for i, name in enumerate(names)
    ]
    return sorted(table, key=lambda one: -one.logit)


def _wins_by_item(games: Sequence[Game], names: Sequence[str]) -> Floats:
    """(items, systems, systems): what the row's system won from the column's."""
    place = {name: i for i, name in enumerate(names)}
    items = {item: i for i, item in enumerate(dict.fromkeys(game.item for game in games))}
    wins = np.zeros((len(items), len(names), len(names)))
    for game in games:
        assert game.first != game.second
        item, first, second = items[game.item], place[game.first], place[game.second]
        wins[item, first, second] += game.preference
        wins[item, second, first] += 1 - game.preference
    return wins


def _logits(wins: Floats) -> Floats:
    """Maximum-likelihood strengths with mean 0 from a (systems, systems) matrix of wins."""
    winners, losers = np.nonzero(wins)
    fit = maximum_likelihood(
        winners.tolist(),
        losers.tolist(),
        [Winner.X] * len(winners),
        weights=wins[winners, losers],
        tolerance=1e-10,
        limit=_MOST_ITERATIONS,
    )
    assert fit.iterations < _MOST_ITERATIONS
    logits = np.log(fit.scores.sort_index().to_numpy(dtype=np.float64))
    return logits - logits.mean()


def _require_one_group(met: NDArray[np.bool_], names: Sequence[str]) -> None:
    groups, labels = connected_components(met, directed=False)
    if groups > 1:
        apart = [" and ".join(np.asarray(names)[labels == group]) for group in range(groups)]
        raise DataError(
            f"the compared systems fall into {groups} groups that never met: {printable('; '.join(apart))}",
            hint="Compare a system of one group with one of each other group.",
        )
