"""In every layout exactly the right tokens are scored, each by the token before it in its branch."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orpo.batch import Layout, MicroBatch, Totals
from orpo.data.batching import tokens_held
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import TokenizedPair

PAIRS = [
    TokenizedPair((1, 2, 3), (4, 5), (6,), "a:1"),
    TokenizedPair((7,), (8,), (9, 10, 11, 12), "a:2"),
]

ids = st.lists(st.integers(0, 50), min_size=1, max_size=9).map(tuple)
some_pairs = st.lists(st.builds(TokenizedPair, ids, ids, ids, st.just("here")), min_size=1, max_size=5)
every_layout = pytest.mark.parametrize("layout", Layout)


def scored(layout: Layout, pair: int, kind: int, *, score_prompt: bool) -> list[tuple[int, int]]:
    """(token before, scored token) of one segment of `PAIRS`."""
    return steps(collate(PAIRS, layout, pad_id=0, score_prompt=score_prompt), pair, kind)


def steps(batch: MicroBatch, pair: int, kind: int) -> list[tuple[int, int]]:
    """(token before, scored token) of one segment: kind 0 chosen, 1 rejected, 2 prompt."""
    mine = batch.segments == kind * len(batch.weight) + pair
    before = batch.input_ids.flatten()[batch.rows[mine]]
    return list(zip(before.tolist(), batch.targets[mine].tolist(), strict=True))


@every_layout
def test_responses_are_scored_from_the_last_prompt_token_on(layout: Layout) -> None:
    assert scored(layout, 0, 0, score_prompt=False) == [(3, 4), (4, 5)]
    assert scored(layout, 0, 1, score_prompt=False) == [(3, 6)]
    assert scored(layout, 1, 0, score_prompt=False) == [(7, 8)]
    assert scored(layout, 1, 1, score_prompt=False) == [(7, 9), (9, 10), (10, 11), (11, 12)]


@every_layout
def test_the_prompt_is_scored_once_per_pair_and_only_on_request(layout: Layout) -> None:
    assert scored(layout, 0, 2, score_prompt=False) == []
    assert scored(layout, 0, 2, score_prompt=True) == [(1, 2), (2, 3)]
    assert scored(layout, 1, 2, score_prompt=True) == []


def test_padded_rows_are_padded_at_the_end() -> None:
    batch = collate(PAIRS, Layout.PADDED, pad_id=99, score_prompt=False)
    assert batch.attention is None
    assert batch.input_ids.tolist() == [
        [1, 2, 3, 4, 5],
        [7, 8, 99, 99, 99],
        [1, 2, 3, 6, 99],
        [7, 9, 10, 11, 12],
    ]


def test_a_shared_row_holds_each_prompt_once_and_repeats_no_token() -> None:
    batch = collate(PAIRS, Layout.SHARED, pad_id=99, score_prompt=False)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]
    assert batch.attention is not None
    assert batch.attention.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 1, 2, 3, 4]]


def test_a_packed_row_holds_every_branch_whole() -> None:
    batch = collate(PAIRS, Layout.PACKED, pad_id=99, score_prompt=False)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 8, 7, 9, 10, 11, 12]]
    assert batch.attention is not None
    assert batch.attention.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4]]


def test_the_state_of_a_shared_prompts_last_token_scores_both_first_tokens() -> None:
    batch = collate(PAIRS, Layout.SHARED, pad_id=0, score_prompt=False)
    uses = Counter(batch.rows.tolist())
    assert [row for row, count in uses.items() if count == 2] == [2, 6]
    assert max(uses.values()) == 2


@settings(max_examples=60, deadline=None)
@given(pairs=some_pairs, layout=st.sampled_from(Layout), score_prompt=st.booleans())
def test_each_segment_is_scored_whole_and_in_order(
    pairs: list[TokenizedPair], layout: Layout, score_prompt: bool
) -> None:
    batch = collate(pairs, layout, pad_id=0, score_prompt=score_prompt)
    for i, pair in enumerate(pairs):
        assert steps(batch, i, 0) == list(pairwise((pair.prompt[-1], *pair.chosen)))
        assert steps(batch, i, 1) == list(pairwise((pair.prompt[-1], *pair.rejected)))
        assert steps(batch, i, 2) == (list(pairwise(pair.prompt)) if score_prompt else [])


@settings(max_examples=60, deadline=None)
@given(pairs=some_pairs, layout=st.sampled_from([Layout.SHARED, Layout.PACKED]))
def test_what_a_scored_token_may_see_is_its_branch_up_to_it(
    pairs: list[TokenizedPair], layout: Layout
) -> None:
    batch = collate(pairs, layout, pad_id=0, score_prompt=False)
    row, attention = batch.input_ids[0], batch.attention
    assert attention is not None
    seen: dict[int, list[int]] = {}
    for i, block in enumerate(attention.blocks):
        keys = attention.key_index[attention.key_offsets[i] : attention.key_offsets[i + 1]].tolist()
        for query in range(block.length):
            seen[block.start + query] = keys[: block.prefix_length + query + 1]
    assert sorted(seen) == list(range(len(row)))
    size = len(pairs)
    at: Counter[int] = Counter()
    for predictor, segment in zip(batch.rows.tolist(), batch.segments.tolist(), strict=True):
        pair = pairs[segment % size]
        branch = pair.prompt + (pair.chosen if segment < size else pair.rejected)
        visible = branch[: len(pair.prompt) + at[segment]]
        at[segment] += 1
        assert tuple(row[seen[predictor]].tolist()) == visible
        assert attention.position_ids[0, predictor] == len(visible) - 1


@settings(max_examples=60, deadline=None)
@given(pairs=some_pairs, layout=st.sampled_from(Layout))
def test_a_micro_batch_holds_as_many_tokens_as_were_planned(
    pairs: list[TokenizedPair], layout: Layout
) -> None:
    lengths = torch.tensor([[len(p.prompt), len(p.chosen), len(p.rejected)] for p in pairs]).numpy()
    batch = collate(pairs, layout, pad_id=0, score_prompt=False)
    assert batch.input_ids.numel() == tokens_held(lengths, layout)


@every_layout
@pytest.mark.parametrize("score_prompt", [False, True])
def test_counts_are_the_scored_tokens_and_totals_add_them_up(layout: Layout, score_prompt: bool) -> None:
    batch = collate(PAIRS, layout, pad_id=0, score_prompt=score_prompt)
    counted = torch.bincount(batch.segments, minlength=batch.counts.numel()).view_as(batch.counts)
    assert torch.equal(batch.counts, counted.float())
    assert batch_totals(PAIRS) == Totals(pairs=2, prompt_tokens=2, chosen_tokens=3)


@every_layout
def test_the_scored_tokens_of_a_pair_are_adjacent(layout: Layout) -> None:
    batch = collate(PAIRS, layout, pad_id=0, score_prompt=True)
    owners = [segment % len(PAIRS) for segment in batch.segments.tolist()]
    for pair, (start, stop) in enumerate(pairwise(batch.offsets)):
        assert owners[start:stop] == [pair] * (stop - start)
    assert batch.offsets[-1] == len(owners)


@every_layout
def test_the_weight_of_a_stand_in_is_passed_on(layout: Layout) -> None:
    batch = collate(PAIRS, layout, pad_id=0, score_prompt=False, weight=0.0)
    assert batch.weight.tolist() == [0.0, 0.0]
