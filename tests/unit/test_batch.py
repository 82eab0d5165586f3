"""A packed row's description says what each query sees, and moves between devices whole."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from orpo.batch import Block, Layout, MicroBatch, PackedAttention, PromptTokens
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair

BLOCKS = [Block(0, 5), Block(5, 2, 0, 3), Block(7, 2)]
"""A pair with a prompt of 3 tokens and responses of 2, and a text of 2."""

CPU = torch.device("cpu")
META = torch.device("meta")

PAIRS = [
    TokenizedPair((1, 2, 3), (4, 5), (6,), "a"),
    TokenizedPair((7,), (8,), (9, 10, 11, 12), "b", weight=0.5, margin=2.0),
    TokenizedPair((13, 14), (15, 16, 17), (18, 19), "c"),
]


def test_each_block_sees_its_prefix_and_itself() -> None:
    row = PackedAttention.of(BLOCKS)
    keys = [
        row.key_index[start:stop].tolist()
        for start, stop in zip(row.key_offsets[:-1], row.key_offsets[1:], strict=True)
    ]
    assert keys == [[0, 1, 2, 3, 4], [0, 1, 2, 5, 6], [7, 8]]
    assert row.query_offsets.tolist() == [0, 5, 7, 9]
    assert (row.max_query_length, row.max_key_length) == (5, 5)


def test_positions_go_on_from_the_prefix() -> None:
    assert PackedAttention.of(BLOCKS).position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 4, 0, 1]]


def test_types_are_those_that_kernels_ask_for() -> None:
    row = PackedAttention.of(BLOCKS)
    assert row.query_offsets.dtype == row.key_offsets.dtype == torch.int32
    assert row.key_index.dtype == row.position_ids.dtype == torch.int64


def test_moving_a_row_moves_every_tensor_and_leaves_behind_what_was_derived() -> None:
    row = PackedAttention.of(BLOCKS)
    row.derived["mask"] = torch.zeros(1)
    moved = row.to(META)
    tensors = [getattr(moved, item.name) for item in fields(moved)]
    assert {tensor.device for tensor in tensors if isinstance(tensor, Tensor)} == {META}
    assert moved.blocks == row.blocks
    assert moved.derived == {}, "masks are on the device of the row that they were made for"
    assert row.derived, "the row itself is as it was"


@pytest.mark.parametrize("layout", Layout)
def test_moving_a_micro_batch_moves_every_tensor_and_keeps_everything_else(layout: Layout) -> None:
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.ALL)
    moved = batch.to(META)
    for item in fields(batch):
        before, after = getattr(batch, item.name), getattr(moved, item.name)
        if isinstance(before, Tensor):
            assert after.device == META, item.name
            assert (after.shape, after.dtype) == (before.shape, before.dtype), item.name
        elif isinstance(before, PackedAttention):
            assert after.position_ids.device == META
        else:
            assert after == before, item.name


@pytest.mark.parametrize("layout", Layout)
def test_a_copy_on_the_same_device_is_equal(layout: Layout) -> None:
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.ALL)
    copy = batch.to(CPU)
    assert torch.equal(copy.input_ids, batch.input_ids)
    assert torch.equal(copy.counts, batch.counts)
    assert (copy.attention is None) == (layout is Layout.PADDED)


def scored(batch: MicroBatch) -> dict[tuple[int, int], list[tuple[int, int]]]:
    """By kind and pair: (row, target) of every scored token."""
    size = len(batch.weight)
    found: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for row, target, segment in zip(
        batch.rows.tolist(), batch.targets.tolist(), batch.segments.tolist(), strict=True
    ):
        found.setdefault((segment // size, segment % size), []).append((row, target))
    return found


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize(("first", "last"), [(0, 3), (0, 1), (1, 3), (2, 3)])
def test_scoring_some_pairs_scores_what_the_whole_scores_of_them(
    layout: Layout, first: int, last: int
) -> None:
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.ALL)
    part = batch.scoring(first, last)
    expected = {
        (kind, pair - first): tokens for (kind, pair), tokens in scored(batch).items() if first <= pair < last
    }
    assert scored(part) == expected
    assert torch.equal(part.counts, batch.counts[:, first:last])
    assert part.weight.tolist() == [1.0, 0.5, 1.0][first:last]
    assert part.margin.tolist() == [0.0, 2.0, 0.0][first:last]
    assert part.offsets[0] == 0
    assert part.offsets[-1] == len(part.rows)
    assert part.input_ids is batch.input_ids
