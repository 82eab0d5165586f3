"""Compact storage of tokenised pairs."""

from __future__ import annotations

import numpy as np

from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs, TokenizedPairsBuilder

PAIRS = [
    TokenizedPair((1, 2), (3, 4, 5), (6,), "a.jsonl:1"),
    TokenizedPair((7,), (8,), (9, 10), "a.jsonl:2"),
    TokenizedPair((11, 12, 13), (14, 15), (16, 17, 18, 19), "a.jsonl:9"),
]


def _stored() -> TokenizedPairs:
    builder = TokenizedPairsBuilder()
    for pair, stop in zip(PAIRS, (5, 2, 5), strict=True):
        builder.add(pair, stop)
    return builder.build()


def test_pairs_come_back_as_they_were_added() -> None:
    stored = _stored()
    assert len(stored) == 3
    assert list(stored) == PAIRS
    assert stored[np.int64(1)] == PAIRS[1]
    assert stored[-1] == PAIRS[2]


def test_lengths_are_those_of_prompt_chosen_and_rejected() -> None:
    assert _stored().lengths.tolist() == [[2, 3, 1], [1, 1, 2], [3, 2, 4]]


def test_stop_ids_are_distinct_and_sorted() -> None:
    assert _stored().stop_ids == (2, 5)


def test_a_selection_keeps_order_origin_and_shares_the_ids() -> None:
    stored = _stored()
    chosen = stored.select([2, 0])
    assert list(chosen) == [PAIRS[2], PAIRS[0]]
    assert list(chosen.select(np.array([1]))) == [PAIRS[0]]
    assert chosen.ids is stored.ids


def test_no_pairs_are_an_empty_sequence() -> None:
    empty = TokenizedPairsBuilder().build()
    assert (len(empty), list(empty), empty.lengths.shape) == (0, [], (0, 3))
    assert len(_stored().select([])) == 0
