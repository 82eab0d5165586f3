"""Position bias: what a judge says when the same two responses are shown in both orders."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from orpo.statistics.intervals import Floats
from orpo.statistics.rates import Rate
from orpo.statistics.winrate import TIE


@dataclass(frozen=True)
class BothOrders:
    """Verdicts on items that were judged in both orders."""

    preferences: Floats
    """(items,) preference for A; a tie where the orders contradict each other, NaN without both verdicts."""

    unread: int
    """Items with an order whose verdict could not be read; these are not ties."""

    consistent: Rate
    """Items with the same verdict in both orders, of those with both."""

    first_slot: Rate
    """Items whose verdict was for whatever was shown first, of those with both."""

    second_slot: Rate
    """The same for what was shown second."""

    @property
    def follows_position(self) -> Rate:
        """Items whose verdict was for a place rather than for a response."""
        return Rate(self.first_slot.hits + self.second_slot.hits, self.first_slot.trials)

    @property
    def readable(self) -> Floats:
        """The preferences of items with both verdicts, for `win_rate`."""
        return self.preferences[~np.isnan(self.preferences)]


def both_orders(a_first: ArrayLike, b_first: ArrayLike) -> BothOrders:
    """Join the verdicts of both orders, as MT-Bench does: without agreement it is a tie.

    Args:
        a_first: (items,) preference for A in [0, 1], asked with A shown first; 0.5 is a tie and NaN a verdict
            that could not be read.
        b_first: (items,) preference for A again, asked with B shown first.
    """
    verdicts = np.stack([np.asarray(a_first, dtype=np.float64), np.asarray(b_first, dtype=np.float64)])
    read = ~np.isnan(verdicts).any(axis=0)
    sides = np.sign(verdicts - TIE)
    agree = read & (sides[0] == sides[1])
    joined = np.where(agree, verdicts.mean(axis=0), TIE)
    items = int(read.sum())
    return BothOrders(
        preferences=np.where(read, joined, np.nan),
        unread=verdicts.shape[1] - items,
        consistent=Rate(int(agree.sum()), items),
        first_slot=Rate(int((read & (sides[0] > 0) & (sides[1] < 0)).sum()), items),
        second_slot=Rate(int((read & (sides[0] < 0) & (sides[1] > 0)).sum()), items),
    )
