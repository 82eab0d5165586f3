"""Prompts with other prompts' responses."""

from __future__ import annotations

from orpo.data.mismatched import mismatched
from orpo.data.pairs import TokenizedPair

ROWS = [
    TokenizedPair((1,), (10, 11), (), "a"),
    TokenizedPair((2, 2), (), (20,), "b", weight=3.0),
    TokenizedPair((3,), (30,), (31, 32), "c"),
]


def test_each_prompt_has_the_response_before_its_own_and_the_first_has_the_last() -> None:
    rows = mismatched(ROWS, 100)
    assert [(row.prompt, row.chosen) for row in rows] == [
        ((1,), (31, 32)),
        ((2, 2), (10, 11)),
        ((3,), (20,)),
        ((3,), (30,)),
    ]
    assert all(row.rejected == () and row.weight == 1.0 for row in rows)


def test_a_response_is_cut_to_the_room_that_its_new_prompt_leaves() -> None:
    assert [row.chosen for row in mismatched(ROWS, 3)] == [(31, 32), (10,), (20,), (30,)]
