"""Splitting a batch is exact bookkeeping: nothing lost, nothing twice, nothing over the budget."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.batch import Layout
from orpo.data.batching import (
    Lengths,
    branch_lengths,
    epoch_order,
    global_batches,
    packed_lengths,
    split_batch,
    tokens_held,
)

triples = st.tuples(st.integers(1, 150), st.integers(1, 150), st.integers(1, 150))
lengths = st.lists(triples, min_size=1, max_size=70).map(lambda rows: np.array(rows, dtype=np.int32))
layouts = st.sampled_from(Layout)
packed_layouts = st.sampled_from([Layout.SHARED, Layout.PACKED])
budgets = st.integers(1, 4000)

LENGTHS = np.array([[5, 2, 3], [1, 1, 9]], dtype=np.int32)


def test_a_branch_is_the_prompt_and_the_longer_response() -> None:
    assert branch_lengths(LENGTHS).tolist() == [8, 10]


@pytest.mark.parametrize(
    ("layout", "held"), [(Layout.SHARED, 10 + 11), (Layout.PACKED, 15 + 12), (Layout.PADDED, 4 * 10)]
)
def test_tokens_held_are_those_of_the_rows(layout: Layout, held: int) -> None:
    assert tokens_held(LENGTHS, layout) == held


@given(lengths=lengths, layout=layouts, world_size=st.integers(1, 5), max_tokens=budgets)
def test_every_pair_is_in_exactly_one_micro_batch_of_weight_one(
    lengths: Lengths, layout: Layout, world_size: int, max_tokens: int
) -> None:
    ranks = split_batch(lengths, layout=layout, world_size=world_size, max_tokens=max_tokens)
    real = [i for rank in ranks for plan in rank if plan.weight == 1 for i in plan.indices]
    assert sorted(real) == list(range(len(lengths)))


@given(lengths=lengths, layout=layouts, world_size=st.integers(1, 5), max_tokens=budgets)
def test_every_rank_has_as_many_micro_batches_and_at_least_one(
    lengths: Lengths, layout: Layout, world_size: int, max_tokens: int
) -> None:
    ranks = split_batch(lengths, layout=layout, world_size=world_size, max_tokens=max_tokens)
    assert len(ranks) == world_size
    assert len({len(rank) for rank in ranks}) == 1
    assert all(rank and plan.indices for rank in ranks for plan in rank)


@given(lengths=lengths, layout=layouts, world_size=st.integers(1, 5), max_tokens=budgets)
def test_a_micro_batch_is_within_the_budget_or_a_single_pair(
    lengths: Lengths, layout: Layout, world_size: int, max_tokens: int
) -> None:
    for rank in split_batch(lengths, layout=layout, world_size=world_size, max_tokens=max_tokens):
        for plan in rank:
            tokens = tokens_held(lengths[list(plan.indices)], layout)
            assert tokens <= max_tokens or len(plan.indices) == 1


@given(lengths=lengths, layout=layouts, max_tokens=budgets)
def test_one_rank_never_runs_a_stand_in(lengths: Lengths, layout: Layout, max_tokens: int) -> None:
    (rank,) = split_batch(lengths, layout=layout, world_size=1, max_tokens=max_tokens)
    assert all(plan.weight == 1 for plan in rank)


@given(lengths=lengths, layout=layouts, world_size=st.integers(2, 5), max_tokens=budgets)
def test_stand_ins_appear_only_where_pairs_cannot_be_shared_out(
    lengths: Lengths, layout: Layout, world_size: int, max_tokens: int
) -> None:
    ranks = split_batch(lengths, layout=layout, world_size=world_size, max_tokens=max_tokens)
    plans = [plan for rank in ranks for plan in rank]
    if any(plan.weight == 0 for plan in plans):
        assert all(len(plan.indices) == 1 for plan in plans)
        assert sum(plan.weight == 0 for plan in plans) < world_size


@given(lengths=lengths, layout=packed_layouts, max_tokens=budgets)
def test_packed_micro_batches_are_of_about_as_many_tokens_each(
    lengths: Lengths, layout: Layout, max_tokens: int
) -> None:
    """Longest first into the least filled: no two differ by more than the longest pair."""
    (rank,) = split_batch(lengths, layout=layout, world_size=1, max_tokens=max_tokens)
    held = [tokens_held(lengths[list(plan.indices)], layout) for plan in rank]
    assert max(held) - min(held) <= packed_lengths(lengths, layout).max()


@given(lengths=lengths, layout=packed_layouts, world_size=st.integers(1, 5), max_tokens=budgets)
def test_ranks_hold_about_as_many_tokens(
    lengths: Lengths, layout: Layout, world_size: int, max_tokens: int
) -> None:
    ranks = split_batch(lengths, layout=layout, world_size=world_size, max_tokens=max_tokens)
    plans = [[tokens_held(lengths[list(plan.indices)], layout) for plan in rank] for rank in ranks]
    loads = [sum(held) for held in plans]
    assert max(loads) - min(loads) <= max(max(held) for held in plans)


def test_packed_pairs_fill_as_few_micro_batches_as_the_budget_allows() -> None:
    lengths = np.array([[10, 5, 5]] * 10, dtype=np.int32)
    (rank,) = split_batch(lengths, layout=Layout.SHARED, world_size=1, max_tokens=80)
    assert [len(plan.indices) for plan in rank] == [4, 3, 3]


def test_packed_pairs_take_another_micro_batch_where_no_fewer_are_within_the_budget() -> None:
    lengths = np.array([[30, 10, 10]] * 3, dtype=np.int32)
    (rank,) = split_batch(lengths, layout=Layout.SHARED, world_size=1, max_tokens=80)
    assert [len(plan.indices) for plan in rank] == [1, 1, 1]


def test_padded_pairs_of_similar_length_share_a_micro_batch() -> None:
    lengths = np.array([[50, 50, 1], [5, 5, 1], [50, 50, 1], [5, 5, 1]], dtype=np.int32)
    (rank,) = split_batch(lengths, layout=Layout.PADDED, world_size=1, max_tokens=400)
    assert sorted(sorted(plan.indices) for plan in rank) == [[0, 2], [1, 3]]


@pytest.mark.parametrize("layout", Layout)
def test_ranks_are_balanced(layout: Layout) -> None:
    sizes = [400, 300, 200, 100]
    lengths = np.array([[size - 2, 1, 1] for size in sizes], dtype=np.int32)
    ranks = split_batch(lengths, layout=layout, world_size=2, max_tokens=1)
    assert [sum(sizes[i] for plan in rank for i in plan.indices) for rank in ranks] == [500, 500]


@pytest.mark.parametrize(
    ("layout", "most"), [(Layout.SHARED, 0.005), (Layout.PACKED, 0.005), (Layout.PADDED, 0.2)]
)
def test_ranks_hold_equally_many_tokens_of_real_pairs(layout: Layout, most: float) -> None:
    path = Path(__file__).parents[3] / "benchmarks" / "gpu" / "hh_lengths.json"
    lengths = np.array(json.loads(path.read_text(encoding="utf-8"))["lengths"], dtype=np.int32)
    for indices in global_batches(epoch_order(len(lengths), seed=0, epoch=0, shuffle=True), 64):
        ranks = split_batch(lengths[indices], layout=layout, world_size=8, max_tokens=8192)
        loads = [
            sum(tokens_held(lengths[indices][list(plan.indices)], layout) for plan in rank) for rank in ranks
        ]
        assert max(loads) <= (1 + most) * sum(loads) / len(loads)


def test_pairs_are_exchanged_until_ranks_are_even() -> None:
    """Each pair, the longest first, to the rank with least makes 15 and 13 of these."""
    lengths = np.array([[size - 2, 1, 1] for size in (7, 7, 6, 5, 3)], dtype=np.int32)
    ranks = split_batch(lengths, layout=Layout.SHARED, world_size=2, max_tokens=100)
    assert [tokens_held(lengths[list(rank[0].indices)], Layout.SHARED) for rank in ranks] == [14, 14]


def test_no_exchange_fills_a_micro_batch_beyond_the_budget() -> None:
    """The one that would even out these ranks most does not fit; the longest pair runs alone."""
    lengths = np.array([[size - 2, 1, 1] for size in (8, 17, 11, 16, 27)], dtype=np.int32)
    ranks = split_batch(lengths, layout=Layout.SHARED, world_size=2, max_tokens=23)
    held = [tokens_held(lengths[list(plan.indices)], Layout.SHARED) for rank in ranks for plan in rank]
    assert sorted(held)[:-1] == [tokens for tokens in sorted(held) if tokens <= 23]


def test_epoch_order_is_a_pure_function_of_seed_and_epoch() -> None:
    first = epoch_order(100, seed=3, epoch=1, shuffle=True)
    assert np.array_equal(first, epoch_order(100, seed=3, epoch=1, shuffle=True))
    assert not np.array_equal(first, epoch_order(100, seed=3, epoch=2, shuffle=True))
    assert not np.array_equal(first, epoch_order(100, seed=4, epoch=1, shuffle=True))
    assert sorted(first) == list(range(100))
    assert first[:5].tolist() == [30, 7, 31, 75, 81], "the published order of a seed must never change"


def test_without_shuffling_the_order_is_the_files() -> None:
    assert epoch_order(5, seed=0, epoch=3, shuffle=False).tolist() == [0, 1, 2, 3, 4]


def test_the_last_partial_batch_is_kept() -> None:
    assert [len(b) for b in global_batches(np.arange(10), 4)] == [4, 4, 2]
