"""Whether a reward model may judge: it has to know more than chance, and more than lengths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from orpo.statistics.intervals import Floats
from orpo.statistics.significance import LEVEL
from orpo.statistics.winrate import WinRate, win_rate


@dataclass(frozen=True)
class Fitness:
    """A judge's accuracy on held-out pairs beside that of looking at length only."""

    accuracy: WinRate
    """Of the judge; a pair with equal rewards counts half."""

    rule: Literal["longer wins", "shorter wins"]
    """The better of the two on these pairs."""

    rule_accuracy: WinRate
    """Of that rule; a pair of equal lengths counts half."""

    p_value: float
    """Of judge and rule being right equally often, by the sign test over pairs where one does better."""

    @property
    def beats_chance(self) -> bool:
        """Whether all of the accuracy's interval is above one half."""
        return self.accuracy.interval.low > 0.5

    @property
    def beats_length(self) -> bool:
        """Whether the judge is right more often than the rule, significantly."""
        return self.accuracy.rate > self.rule_accuracy.rate and self.p_value < LEVEL

    @property
    def fit(self) -> bool:
        """Whether figures of this judge should be shown without a warning."""
        return self.beats_chance and self.beats_length


def fitness_to_judge(
    margins: ArrayLike,
    chosen_lengths: ArrayLike,
    rejected_lengths: ArrayLike,
    *,
    clusters: ArrayLike | None = None,
    seed: int = 0,
) -> Fitness:
    """Judge the judge on pairs that it was not trained on.

    Args:
        margins: (N,) reward of the chosen response minus that of the rejected one.
        chosen_lengths: (N,) in characters or tokens.
        rejected_lengths: (N,) in the same.
        clusters: (N,) labels, equal for pairs of one prompt.
        seed: of bootstrap intervals.
    """
    right = _right(np.asarray(margins, dtype=np.float64))
    longer = _right(
        np.asarray(chosen_lengths, dtype=np.float64) - np.asarray(rejected_lengths, dtype=np.float64)
    )
    rule, by_rule = ("longer wins", longer) if longer.mean() >= 0.5 else ("shorter wins", 1 - longer)
    # As preferences of the judge over the rule: 0.5 where both are equally right.
    advantage = win_rate((1 + np.sign(right - by_rule)) / 2, clusters=clusters, seed=seed)
    return Fitness(
        accuracy=win_rate(right, clusters=clusters, seed=seed),
        rule=rule,
        rule_accuracy=win_rate(by_rule, clusters=clusters, seed=seed),
        p_value=advantage.p_value,
    )


def _right(margins: Floats) -> Floats:
    return (1 + np.sign(margins)) / 2
