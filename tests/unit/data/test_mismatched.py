"""Prompts with other prompts' responses."""

from __future__ import annotations

import numpy as np

from orpo.batch import Rows
from orpo.data.batching import lengths_of
from orpo.data.mismatched import Mismatched
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.data.usable import learnt
from tests.loops import tokenized

ROWS = [
    TokenizedPair((1,), (10, 11), (), "a"),
    TokenizedPair((2, 2), (), (20,), "b", weight=3.0),
    TokenizedPair((3,), (30,), (31, 32), "c"),
]


def responses() -> TokenizedPairs:
    return learnt(tokenized(ROWS), Rows.RESPONSES)


def test_each_prompt_has_the_response_before_its_own_and_the_first_has_the_last() -> None:
    rows = list(Mismatched.of(responses(), [np.arange(4)], 100))
    assert [(row.prompt, row.chosen) for row in rows] == [
        ((1,), (31, 32)),
        ((2, 2), (10, 11)),
        ((3,), (20,)),
        ((3,), (30,)),
    ]
    assert all(row.rejected == () and row.weight == 1.0 for row in rows)


def test_responses_stay_within_their_batch() -> None:
    rows = Mismatched.of(responses(), [np.array([3, 0]), np.array([2, 1])], 100)
    assert [(row.prompt, row.chosen) for row in rows] == [
        ((3,), (10, 11)),
        ((1,), (31, 32)),
        ((3,), (20,)),
        ((2, 2), (30,)),
    ]
    assert [row.prompt for row in rows[1:3]] == [(1,), (3,)]


def test_a_response_is_cut_to_the_room_that_its_new_prompt_leaves() -> None:
    rows = Mismatched.of(responses(), [np.arange(4)], 3)
    assert [row.chosen for row in rows] == [(31, 32), (10,), (20,), (30,)]


def test_lengths_are_those_of_the_rows() -> None:
    for max_length in (1, 3, 100):
        rows = Mismatched.of(responses(), [np.array([2, 0, 1, 3])], max_length)
        assert np.array_equal(rows.lengths, lengths_of(list(rows)))
