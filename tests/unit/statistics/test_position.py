from __future__ import annotations

import numpy as np
import pytest

from orpo.statistics.position import both_orders
from orpo.statistics.rates import Rate

NAN = float("nan")


def test_a_verdict_needs_both_orders() -> None:
    # A wins, B wins, first shown, second shown, tie, tie and win, tie and loss, one not read
    joined = both_orders([1, 0, 1, 0, 0.5, 0.5, 0.5, NAN], [1, 0, 0, 1, 0.5, 1, 0, 1])
    assert joined.readable.tolist() == [1, 0, 0.5, 0.5, 0.5, 0.5, 0.5]
    assert np.isnan(joined.preferences[7])
    assert joined.unread == 1
    assert joined.consistent == Rate(3, 7)
    assert joined.first_slot == Rate(1, 7)
    assert joined.second_slot == Rate(1, 7)
    assert joined.follows_position == Rate(2, 7)


def test_a_judge_that_only_looks_at_the_position_says_nothing() -> None:
    joined = both_orders(np.ones(50), np.zeros(50))
    assert (joined.preferences == 0.5).all()
    assert joined.first_slot.value == 1
    assert joined.consistent.value == 0


def test_degrees_of_preference_are_averaged_where_the_orders_agree() -> None:
    joined = both_orders([0.9, 0.7], [0.6, 0.2])
    assert joined.preferences == pytest.approx([0.75, 0.5])
    assert joined.first_slot == Rate(1, 2)
