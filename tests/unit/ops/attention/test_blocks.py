"""Attention block by block equals dense attention under a mask that is written from the definition."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from orpo.batch import Block, PackedAttention
from orpo.ops.attention.blocks import block_attention

HEADS, SIZE, VALUE_SIZE = 4, 6, 5

ROWS = {
    "one text": [Block(0, 9)],
    "texts": [Block(0, 4), Block(4, 1), Block(5, 6)],
    "shared prompts": [Block(0, 9), Block(9, 6, 0, 5), Block(15, 2), Block(17, 3, 15, 1)],
    "a prefix that is the whole block": [Block(0, 4), Block(4, 3, 0, 4), Block(7, 2, 0, 4)],
}

OPTIONS: dict[str, dict[str, Any]] = {
    "plain": {},
    "window of 1": {"window": 1},
    "window shorter than the prompt": {"window": 3},
    "window that just ends": {"window": 5},
    "window beyond every text": {"window": 100},
    "softcap": {"softcap": 0.7},
    "sinks": {"sinks": True},
    "all": {"window": 3, "softcap": 0.7, "sinks": True},
}


def text_of(blocks: list[Block]) -> list[list[tuple[int, int]]]:
    """(row place, position in its text) of the keys of each block."""
    return [
        [(block.prefix_start + i, i) for i in range(block.prefix_length)]
        + [(block.start + i, block.prefix_length + i) for i in range(block.length)]
        for block in blocks
    ]


def visible(blocks: list[Block], window: int | None) -> Tensor:
    """(T, T): whether a query may see a key: its own text, no later than itself, within the window."""
    length = blocks[-1].start + blocks[-1].length
    mask = torch.zeros(length, length, dtype=torch.bool)
    for block, keys in zip(blocks, text_of(blocks), strict=True):
        for query in range(block.length):
            at = block.prefix_length + query
            for place, position in keys:
                mask[block.start + query, place] = position <= at and (
                    window is None or position > at - window
                )
    return mask


def oracle(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    blocks: list[Block],
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Dense attention over the whole row, one head at a time."""
    group = HEADS // key.shape[1]
    mask = visible(blocks, window)
    outputs: list[Tensor] = []
    for head in range(HEADS):
        scores = scale * query[0, head] @ key[0, head // group].T
        if softcap is not None:
            scores = softcap * (scores / softcap).tanh()
        weights = scores.exp() * mask
        total = weights.sum(-1, keepdim=True)
        if sinks is not None:
            total = total + sinks[head].exp()
        outputs.append(weights / total @ value[0, head // group])
    return torch.stack(outputs)[None]


def tensors(blocks: list[Block], key_heads: int) -> list[Tensor]:
    """Query, key, value and sinks, float64 with gradient."""
    torch.manual_seed(0)
    length = blocks[-1].start + blocks[-1].length
    shapes = [
        (1, HEADS, length, SIZE),
        (1, key_heads, length, SIZE),
        (1, key_heads, length, VALUE_SIZE),
        (HEADS,),
    ]
    return [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]


@pytest.mark.parametrize("key_heads", [HEADS, 2, 1])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@pytest.mark.parametrize("blocks", ROWS.values(), ids=ROWS)
def test_values_and_gradients_equal_dense_attention(
    blocks: list[Block], options: dict[str, Any], key_heads: int
) -> None:
    query, key, value, sinks = tensors(blocks, key_heads)
    options = options | ({"sinks": sinks} if "sinks" in options else {})
    inputs = [query, key, value, *([sinks] if "sinks" in options else [])]
    slopes = torch.randn(1, HEADS, query.shape[2], VALUE_SIZE, dtype=torch.float64)
    found = block_attention(query, key, value, PackedAttention.of(blocks), scale=0.3, **options)
    expected = oracle(query, key, value, blocks, scale=0.3, **options)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(
        torch.autograd.grad(found, inputs, slopes),
        torch.autograd.grad(expected, inputs, slopes),
        rtol=1e-11,
        atol=1e-12,
    )


@pytest.mark.parametrize("window", [None, 3])
def test_a_block_depends_on_nothing_that_it_does_not_see(window: int | None) -> None:
    """Not even NaN, where a mask that is added would let it through."""
    blocks = ROWS["shared prompts"]
    query, key, value, _ = (x.detach() for x in tensors(blocks, 2))
    row = PackedAttention.of(blocks)
    before = block_attention(query, key, value, row, scale=0.3, window=window)
    first_response = slice(5, 9)
    key[:, :, first_response] = value[:, :, first_response] = torch.nan
    after = block_attention(query, key, value, row, scale=0.3, window=window)
    assert torch.equal(after[:, :, 9:], before[:, :, 9:])


@pytest.mark.parametrize("options", [{}, {"window": 3}, {"softcap": 0.7, "sinks": True}], ids=str)
def test_bfloat16_stays_bfloat16_and_near_the_exact_result(options: dict[str, Any]) -> None:
    blocks = ROWS["shared prompts"]
    query, key, value, sinks = (x.detach() for x in tensors(blocks, 2))
    options = options | ({"sinks": sinks} if "sinks" in options else {})
    found = block_attention(
        query.bfloat16(), key.bfloat16(), value.bfloat16(), PackedAttention.of(blocks), scale=0.3, **options
    )
    assert found.dtype == torch.bfloat16
    expected = oracle(query, key, value, blocks, scale=0.3, **options)
    assert (found - expected).norm() <= 1e-2 * expected.norm()


def test_masks_are_made_once_per_row() -> None:
    blocks = ROWS["shared prompts"]
    query, key, value, _ = tensors(blocks, 2)
    row = PackedAttention.of(blocks)
    block_attention(query, key, value, row, scale=0.3, window=3)
    masks = dict(row.derived)
    assert masks
    block_attention(query, key, value, row, scale=0.3, window=3)
    assert row.derived.keys() == masks.keys()
    assert all(row.derived[at] is mask for at, mask in masks.items())
