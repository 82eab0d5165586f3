"""Splitting a batch is exact bookkeeping: nothing lost, nothing twice, nothing over the budget."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.batching import epoch_order, global_batches, padded_tokens, split_batch

lengths = st.lists(st.integers(2, 300), min_size=1, max_size=70)


@given(lengths=lengths, world_size=st.integers(1, 5), max_tokens=st.integers(1, 4000))
def test_every_pair_is_in_exactly_one_micro_batch_of_weight_one(
    lengths: list[int], world_size: int, max_tokens: int
) -> None:
    ranks = split_batch(lengths, world_size=world_size, max_tokens=max_tokens)
    real = [i for rank in ranks for plan in rank if plan.weight == 1 for i in plan.indices]
    assert sorted(real) == list(range(len(lengths)))


@given(lengths=lengths, world_size=st.integers(1, 5), max_tokens=st.integers(1, 4000))
def test_every_rank_has_as_many_micro_batches_and_at_least_one(
    lengths: list[int], world_size: int, max_tokens: int
) -> None:
    ranks = split_batch(lengths, world_size=world_size, max_tokens=max_tokens)
    assert len(ranks) == world_size
    assert len({len(rank) for rank in ranks}) == 1
    assert all(plan.indices for rank in ranks for plan in rank)


@given(lengths=lengths, world_size=st.integers(1, 5), max_tokens=st.integers(1, 4000))
def test_a_micro_batch_is_within_the_budget_or_a_single_pair(
    lengths: list[int], world_size: int, max_tokens: int
) -> None:
    for rank in split_batch(lengths, world_size=world_size, max_tokens=max_tokens):
        for plan in rank:
            tokens = padded_tokens([lengths[i] for i in plan.indices])
            assert tokens <= max_tokens or len(plan.indices) == 1


@given(lengths=lengths, max_tokens=st.integers(1, 4000))
def test_one_rank_never_runs_a_stand_in(lengths: list[int], max_tokens: int) -> None:
    (rank,) = split_batch(lengths, world_size=1, max_tokens=max_tokens)
    assert all(plan.weight == 1 for plan in rank)


@given(lengths=lengths, world_size=st.integers(2, 5), max_tokens=st.integers(1, 4000))
def test_stand_ins_appear_only_where_pairs_cannot_be_shared_out(
    lengths: list[int], world_size: int, max_tokens: int
) -> None:
    ranks = split_batch(lengths, world_size=world_size, max_tokens=max_tokens)
    plans = [plan for rank in ranks for plan in rank]
    if any(plan.weight == 0 for plan in plans):
        assert all(len(plan.indices) == 1 for plan in plans)
        assert sum(plan.weight == 0 for plan in plans) < world_size


def test_pairs_of_similar_length_share_a_micro_batch() -> None:
    (rank,) = split_batch([100, 10, 100, 10], world_size=1, max_tokens=400)
    assert sorted(sorted(plan.indices) for plan in rank) == [[0, 2], [1, 3]]


def test_ranks_are_balanced() -> None:
    lengths = [400, 300, 200, 100]
    ranks = split_batch(lengths, world_size=2, max_tokens=1)
    loads = [sum(lengths[i] for plan in rank for i in plan.indices) for rank in ranks]
    assert loads == [500, 500]


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
