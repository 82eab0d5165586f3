"""What an objective is given of the rows that there are."""

from __future__ import annotations

import pytest

from orpo.batch import Rows
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import ShardBuilder, TokenizedPairs
from orpo.data.usable import evaluated, learnt

PAIR = TokenizedPair((1,), (2,), (3,), "pair")
LIKED = TokenizedPair((1,), (4,), (), "liked")
DISLIKED = TokenizedPair((1,), (), (5,), "disliked")


def stored() -> TokenizedPairs:
    builder = ShardBuilder()
    for row in (PAIR, LIKED, DISLIKED):
        builder.add(row, 9)
    return TokenizedPairs.of([builder.build()], [9])


def responses(pairs: TokenizedPairs) -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    return [(pair.chosen, pair.rejected) for pair in pairs]


@pytest.mark.parametrize(
    ("rows", "train", "held_out"),
    [
        (Rows.ANSWERED, [((2,), (3,)), ((4,), ())], [((2,), (3,)), ((4,), ())]),
        (Rows.CHOSEN, [((2,), ()), ((4,), ())], [((2,), (3,)), ((4,), ())]),
        (Rows.PAIRS, [((2,), (3,))], [((2,), (3,))]),
        (
            Rows.RESPONSES,
            [((2,), ()), ((), (3,)), ((4,), ()), ((), (5,))],
            [((2,), (3,)), ((4,), ()), ((), (5,))],
        ),
    ],
)
def test_rows_are_what_the_objective_learns_from(
    rows: Rows,
    train: list[tuple[tuple[int, ...], tuple[int, ...]]],
    held_out: list[tuple[tuple[int, ...], tuple[int, ...]]],
) -> None:
    assert responses(learnt(stored(), rows)) == train
    assert responses(evaluated(stored(), rows)) == held_out
