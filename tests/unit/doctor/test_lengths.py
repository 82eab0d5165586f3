from __future__ import annotations

import numpy as np
import pytest

from orpo.data.pairs import Single
from orpo.doctor.lengths import character_lengths, length_biased, longer_is_chosen, summarise
from tests.conversations import chat, pair


def lengths(*rows: tuple[int, int, int]) -> np.ndarray:
    return np.array(rows, dtype=np.int64)


def test_lengths_are_in_characters() -> None:
    assert character_lengths([pair("abc", "de", "f"), pair(chat("abc"), "é", "👍👍")]).tolist() == [
        [3, 2, 1],
        [len("user: abc"), 1, 2],
    ]


def test_a_summary_has_quantiles_and_a_histogram_of_every_pair() -> None:
    rows = lengths(*((i, 10 * i + 10, 5) for i in range(101)))
    prompt, chosen, rejected = summarise(rows, "tokens")
    assert prompt.quantiles == (0, 5, 50, 95, 100)
    assert chosen.quantiles == (10, 60, 510, 960, 1010)
    assert rejected.mean == 5
    for segment in (prompt, chosen, rejected):
        assert sum(segment.counts) == 101
        assert segment.edges == prompt.edges
        assert len(segment.edges) == len(segment.counts) + 1


def test_a_pair_with_an_empty_prompt_has_a_summary() -> None:
    assert [sum(segment.counts) for segment in summarise(lengths((0, 1, 1)), "characters")] == [1, 1, 1]


def test_single_responses_are_a_segment_of_their_own() -> None:
    items = [
        pair("abc", "de", "f"),
        Single("g", "hijk", is_desirable=True, where="f:1"),
        Single("g", "lm", is_desirable=False, where="f:2"),
    ]
    rows = character_lengths(items)
    assert rows.tolist() == [[3, 2, 1], [1, 4, 0], [1, 0, 2]]
    found = {segment.segment: segment for segment in summarise(rows, "characters")}
    assert {name: sum(segment.counts) for name, segment in found.items()} == {
        "prompt": 3,
        "chosen": 1,
        "rejected": 1,
        "response": 2,
    }
    assert found["response"].mean == 3
    assert [segment.segment for segment in summarise(rows[1:], "characters")] == ["prompt", "response"]


def test_length_bias_leaves_out_pairs_of_equal_lengths() -> None:
    rate = longer_is_chosen(lengths((9, 5, 1), (9, 5, 5), (9, 1, 5), (9, 2, 1)))
    assert (rate.hits, rate.trials) == (2, 3)


@pytest.mark.parametrize(("chosen", "expected"), [(90, [0, 1, 2]), (10, [10, 11, 12]), (50, [])])
def test_a_rule_in_either_direction_is_found_and_an_even_split_is_none(
    chosen: int, expected: list[int]
) -> None:
    """`chosen` of 100 pairs have the longer response chosen; earlier rows differ most."""
    rows = lengths(*((1, 500 - i, 1) if i < chosen else (1, 1, 500 - i) for i in range(100)))
    pairs = [pair("Q", where=f"f:{i}") for i in range(100)]
    hits = length_biased(longer_is_chosen(rows), pairs, rows)
    assert [hit.where for hit in hits[:3]] == [f"f:{i}" for i in expected]


def test_three_pairs_prove_nothing() -> None:
    rows = lengths((1, 2, 1), (1, 2, 1), (1, 2, 1))
    assert length_biased(longer_is_chosen(rows), [pair("Q")] * 3, rows) == []
