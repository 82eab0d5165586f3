"""A padded batch scores exactly the right tokens, each by the position before it."""

from __future__ import annotations

import pytest
import torch

from orpo.batch import Totals
from orpo.data.collate import batch_totals, pad_batch
from orpo.data.pairs import TokenizedPair

PAIRS = [
    TokenizedPair((1, 2, 3), (4, 5), (6,), "a:1"),
    TokenizedPair((7,), (8,), (9, 10, 11, 12), "a:2"),
]


def scored(batch_index: int, kind: int, score_prompt: bool) -> list[tuple[int, int]]:
    """(token before, scored token) of one segment."""
    batch = pad_batch(PAIRS, pad_id=0, score_prompt=score_prompt)
    mine = batch.segments == kind * len(PAIRS) + batch_index
    before = batch.input_ids.flatten()[batch.positions[mine]]
    return list(zip(before.tolist(), batch.targets[mine].tolist(), strict=True))


def test_responses_are_scored_from_the_last_prompt_token_on() -> None:
    assert scored(0, 0, False) == [(3, 4), (4, 5)]
    assert scored(0, 1, False) == [(3, 6)]
    assert scored(1, 0, False) == [(7, 8)]
    assert scored(1, 1, False) == [(7, 9), (9, 10), (10, 11), (11, 12)]


def test_the_prompt_is_scored_once_per_pair_and_only_on_request() -> None:
    assert scored(0, 2, False) == []
    assert scored(0, 2, True) == [(1, 2), (2, 3)]
    assert scored(1, 2, True) == []


def test_rows_are_padded_at_the_end() -> None:
    batch = pad_batch(PAIRS, pad_id=99, score_prompt=False)
    assert batch.input_ids.tolist() == [
        [1, 2, 3, 4, 5],
        [7, 8, 99, 99, 99],
        [1, 2, 3, 6, 99],
        [7, 9, 10, 11, 12],
    ]


@pytest.mark.parametrize("score_prompt", [False, True])
def test_counts_are_the_scored_tokens_and_totals_add_them_up(score_prompt: bool) -> None:
    batch = pad_batch(PAIRS, pad_id=0, score_prompt=score_prompt)
    counted = torch.bincount(batch.segments, minlength=batch.counts.numel()).view_as(batch.counts)
    assert torch.equal(batch.counts, counted.float())
    assert batch_totals(PAIRS) == Totals(pairs=2, prompt_tokens=2, chosen_tokens=3)


def test_the_weight_of_a_stand_in_is_passed_on() -> None:
    assert pad_batch(PAIRS, pad_id=0, score_prompt=False, weight=0.0).weight.tolist() == [0.0, 0.0]
