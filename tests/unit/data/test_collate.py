"""In every layout exactly the right tokens are scored, each by the token before it in its branch."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orpo.batch import Layout, MicroBatch, PromptTokens, Totals
from orpo.data.batching import tokens_held
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import TokenizedPair

PAIRS = [
    TokenizedPair((1, 2, 3), (4, 5), (6,), "a:1"),
    TokenizedPair((7,), (8,), (9, 10, 11, 12), "a:2"),
]

ids = st.lists(st.integers(0, 50), min_size=1, max_size=9).map(tuple)
weights = st.sampled_from([0.25, 1.0, 3.0])
nothing: st.SearchStrategy[tuple[int, ...]] = st.just(())
some_pairs = st.lists(
    st.one_of(
        st.builds(TokenizedPair, ids, ids, ids, st.just("here"), weights),
        st.builds(TokenizedPair, ids, ids, nothing, st.just("only chosen"), weights),
        st.builds(TokenizedPair, ids, nothing, ids, st.just("only rejected"), weights),
    ),
    min_size=1,
    max_size=5,
)
every_layout = pytest.mark.parametrize("layout", Layout)


def scored(
    layout: Layout, pair: int, kind: int, which: PromptTokens = PromptTokens.NONE
) -> list[tuple[int, int]]:
    """(token before, scored token) of one segment of `PAIRS`."""
    return steps(collate(PAIRS, layout, pad_id=0, prompt_tokens=which), pair, kind)


def steps(batch: MicroBatch, pair: int, kind: int) -> list[tuple[int, int]]:
    """(token before, scored token) of one segment: kind 0 chosen, 1 rejected, 2 prompt."""
    mine = batch.segments == kind * len(batch.weight) + pair
    before = batch.input_ids.flatten()[batch.rows[mine]]
    return list(zip(before.tolist(), batch.targets[mine].tolist(), strict=True))


@every_layout
def test_responses_are_scored_from_the_last_prompt_token_on(layout: Layout) -> None:
    assert scored(layout, 0, 0) == [(3, 4), (4, 5)]
    assert scored(layout, 0, 1) == [(3, 6)]
    assert scored(layout, 1, 0) == [(7, 8)]
    assert scored(layout, 1, 1) == [(7, 9), (9, 10), (10, 11), (11, 12)]


@every_layout
def test_the_prompt_is_scored_once_per_pair_and_only_on_request(layout: Layout) -> None:
    assert scored(layout, 0, 2) == []
    assert scored(layout, 0, 2, PromptTokens.ALL) == [(1, 2), (2, 3)]
    assert scored(layout, 1, 2, PromptTokens.ALL) == []


def test_padded_rows_are_padded_at_the_end() -> None:
    batch = collate(PAIRS, Layout.PADDED, pad_id=99, prompt_tokens=PromptTokens.NONE)
    assert batch.attention is None
    assert batch.input_ids.tolist() == [
        [1, 2, 3, 4, 5],
        [7, 8, 99, 99, 99],
        [1, 2, 3, 6, 99],
        [7, 9, 10, 11, 12],
    ]


def test_a_shared_row_holds_each_prompt_once_and_repeats_no_token() -> None:
    batch = collate(PAIRS, Layout.SHARED, pad_id=99, prompt_tokens=PromptTokens.NONE)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]]
    assert batch.attention is not None
    assert batch.attention.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 0, 1, 1, 2, 3, 4]]


def test_a_packed_row_holds_every_branch_whole() -> None:
    batch = collate(PAIRS, Layout.PACKED, pad_id=99, prompt_tokens=PromptTokens.NONE)
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5, 1, 2, 3, 6, 7, 8, 7, 9, 10, 11, 12]]
    assert batch.attention is not None
    assert batch.attention.position_ids.tolist() == [[0, 1, 2, 3, 4, 0, 1, 2, 3, 0, 1, 0, 1, 2, 3, 4]]


def test_the_state_of_a_shared_prompts_last_token_scores_both_first_tokens() -> None:
    batch = collate(PAIRS, Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)
    uses = Counter(batch.rows.tolist())
    assert [row for row, count in uses.items() if count == 2] == [2, 6]
    assert max(uses.values()) == 2


@settings(max_examples=60, deadline=None)
@given(
    pairs=some_pairs,
    layout=st.sampled_from(Layout),
    which=st.sampled_from([PromptTokens.NONE, PromptTokens.ALL]),
)
def test_each_segment_is_scored_whole_and_in_order(
    pairs: list[TokenizedPair], layout: Layout, which: PromptTokens
) -> None:
    batch = collate(pairs, layout, pad_id=0, prompt_tokens=which)
    for i, pair in enumerate(pairs):
        assert steps(batch, i, 0) == list(pairwise((pair.prompt[-1], *pair.chosen)))
        assert steps(batch, i, 1) == list(pairwise((pair.prompt[-1], *pair.rejected)))
        is_scored = which is PromptTokens.ALL and pair.chosen
        assert steps(batch, i, 2) == (list(pairwise(pair.prompt)) if is_scored else [])


@every_layout
def test_of_earlier_answers_all_tokens_are_scored_but_a_prompts_first(layout: Layout) -> None:
    pair = TokenizedPair((1, 2, 3, 4, 5, 6), (7,), (8,), "here", answers=((0, 2), (3, 5)))
    batch = collate([pair], layout, pad_id=0, prompt_tokens=PromptTokens.ANSWERS)
    assert steps(batch, 0, 2) == [(1, 2), (3, 4), (4, 5)]
    assert batch.counts[2].tolist() == [3]
    assert batch_totals([pair], PromptTokens.ANSWERS).prompt_tokens == 3


@every_layout
def test_a_missing_response_takes_no_tokens(layout: Layout) -> None:
    pairs = [TokenizedPair((1, 2), (3, 4), (), "a:1"), TokenizedPair((5,), (), (6,), "a:2")]
    batch = collate(pairs, layout, pad_id=99, prompt_tokens=PromptTokens.NONE)
    expected = [[1, 2, 3, 4], [5, 6, 99, 99]] if layout is Layout.PADDED else [[1, 2, 3, 4, 5, 6]]
    assert batch.input_ids.tolist() == expected
    assert batch.counts.tolist() == [[2, 0], [0, 1], [0, 0]]


@settings(max_examples=60, deadline=None)
@given(pairs=some_pairs, layout=st.sampled_from([Layout.SHARED, Layout.PACKED]))
def test_what_a_scored_token_may_see_is_its_branch_up_to_it(
    pairs: list[TokenizedPair], layout: Layout
) -> None:
    batch = collate(pairs, layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
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
    batch = collate(pairs, layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    assert batch.input_ids.numel() == tokens_held(lengths, layout)


@every_layout
@pytest.mark.parametrize("which", [PromptTokens.NONE, PromptTokens.ALL])
def test_counts_are_the_scored_tokens_and_totals_add_them_up(layout: Layout, which: PromptTokens) -> None:
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=which)
    counted = torch.bincount(batch.segments, minlength=batch.counts.numel()).view_as(batch.counts)
    assert torch.equal(batch.counts, counted.float())
    total = batch_totals(PAIRS, which)
    assert total == Totals(
        pairs=2,
        answered=2,
        prompt_tokens=batch.counts[2].sum().item(),
        chosen_tokens=3,
        responses=4,
        tokens=batch.presence.sum().item(),
    )


def test_totals_are_weighted_and_leave_out_what_has_no_chosen_response() -> None:
    pairs = [
        TokenizedPair((1, 2, 3), (4, 5), (6,), "pair", weight=2.0),
        TokenizedPair((1, 2, 3), (4, 5), (), "only chosen", weight=0.5),
        TokenizedPair((1, 2, 3), (), (4, 5), "only rejected", weight=8.0),
    ]
    assert batch_totals(pairs, PromptTokens.ALL) == Totals(
        2.0, 2.5, prompt_tokens=5.0, chosen_tokens=5.0, responses=12.5, tokens=2.0 * 9 + 0.5 * 5 + 8.0 * 5
    )


@every_layout
@given(pairs=some_pairs)
def test_every_token_counts_once_for_each_branch_that_it_is_in(
    layout: Layout, pairs: list[TokenizedPair]
) -> None:
    batch = collate(pairs, layout, pad_id=99, prompt_tokens=PromptTokens.NONE)
    counted: defaultdict[int, float] = defaultdict(float)
    for token, presence in zip(batch.input_ids.flatten().tolist(), batch.presence.tolist(), strict=True):
        counted[token] += presence
    expected: defaultdict[int, float] = defaultdict(float)
    for pair in pairs:
        for response in (pair.chosen, pair.rejected):
            for token in (*pair.prompt, *response) if response else ():
                expected[token] += pair.weight
    assert {token: count for token, count in counted.items() if count} == expected


@every_layout
def test_the_scored_tokens_of_a_pair_are_adjacent(layout: Layout) -> None:
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.ALL)
    owners = [segment % len(PAIRS) for segment in batch.segments.tolist()]
    for pair, (start, stop) in enumerate(pairwise(batch.offsets)):
        assert owners[start:stop] == [pair] * (stop - start)
    assert batch.offsets[-1] == len(owners)


@every_layout
def test_the_weight_of_a_stand_in_is_passed_on(layout: Layout) -> None:
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.NONE, weight=0.0)
    assert batch.weight.tolist() == [0.0, 0.0]


@every_layout
def test_pairs_keep_their_weights(layout: Layout) -> None:
    pairs = [replace(pair, weight=weight) for pair, weight in zip(PAIRS, (0.5, 4.0), strict=True)]
    assert collate(pairs, layout, pad_id=0, prompt_tokens=PromptTokens.NONE).weight.tolist() == [0.5, 4.0]


@every_layout
def test_pairs_keep_their_margins(layout: Layout) -> None:
    pairs = [replace(pair, margin=margin) for pair, margin in zip(PAIRS, (0.1, -4.0), strict=True)]
    batch = collate(pairs, layout, pad_id=0, prompt_tokens=PromptTokens.NONE, weight=0.0)
    assert batch.margin.dtype == torch.float32
    assert batch.margin.tolist() == torch.tensor([0.1, -4.0]).tolist()


@every_layout
def test_reference_scores_are_passed_on_where_every_pair_has_them(layout: Layout) -> None:
    known = [replace(pair, reference=(-1.5 * i, -2.5)) for i, pair in enumerate(PAIRS)]
    batch = collate(known, layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    assert batch.reference is not None
    assert batch.reference.tolist() == [[0.0, -1.5], [-2.5, -2.5]]
    part = batch.scoring(1, 2).reference
    assert part is not None
    assert part.tolist() == [[-1.5], [-2.5]]
    assert collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.NONE).reference is None
