"""Attention over a packed row by FlexAttention: softcap, sinks, float32 and head sizes that flash refuses.

A kernel is generated for the row's mask, which is read from a few numbers per token.  The tiles that the
kernel visits are derived from the same numbers, tile by tile, so no matrix of all tokens by all is ever made.
Its backward pass can run once: what it has kept is written over.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask
from torch.nn.attention.flex_attention import flex_attention as torch_flex_attention

from orpo.batch import PackedAttention

TILE = 128
"""Queries and keys of a tile; a row is filled up to whole tiles."""

RECOMPILES = 64
"""Kernels compiled at most: a few per model, by window, gradient and size; dynamo would stop at 8."""


def flex_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: PackedAttention,
    *,
    scale: float,
    window: int | None = None,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention of a packed row; see `block_attention` for the arguments.  Without gradient on a CPU."""
    length = query.shape[2]
    fill = -length % TILE
    padded = (F.pad(x, (0, 0, 0, fill)) for x in (query, key, value))
    output, aux = _kernel(query.device.type)(
        *padded,
        score_mod=None if softcap is None else _capped(softcap),
        block_mask=_block_mask(layout, length, window),
        scale=scale,
        enable_gqa=True,
        return_aux=AuxRequest(lse=True),
    )
    output, normaliser = output[:, :, :length], aux.lse[:, :, :length]
    if sinks is None:
        return output
    # With a sink, every weight is divided by e^lse + e^sink instead of e^lse.
    share = torch.sigmoid(normaliser - sinks.to(normaliser.dtype)[None, :, None])
    return output * share[..., None].to(output.dtype)


@cache
def _kernel(device: str) -> Callable[..., Any]:
    """Compiled once for rows of any length on a GPU; as written elsewhere."""
    if device != "cuda":
        return torch_flex_attention
    config = torch._dynamo.config
    # Above the limit dynamo would go on with the unfused function, which holds all scores.
    config.recompile_limit = max(config.recompile_limit, RECOMPILES)
    # A softcap that is a symbol, as dynamo makes of numbers in dynamic shapes, has no backward pass.
    config.specialize_float = True
    return torch.compile(torch_flex_attention, dynamic=True)


def _capped(softcap: float) -> Callable[..., Tensor]:
    def cap(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        return softcap * torch.tanh(score / softcap)

    return cap


def _block_mask(layout: PackedAttention, length: int, window: int | None) -> BlockMask:
    """What each query sees, and the tiles of which it sees something; once per micro-batch and window."""
    at = ("flex", window)
    if at not in layout.derived:
        layout.derived[at] = _make_block_mask(layout, length, window)
    return layout.derived[at]


def _make_block_mask(layout: PackedAttention, length: int, window: int | None) -> BlockMask:
    start, prefix_start, prefix_end, position = _spans(layout, length)

    def sees(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        own = (key >= start[query]) & (key <= query)
        shared = (key >= prefix_start[query]) & (key < prefix_end[query])
        seen = own | shared
        return seen if window is None else seen & (position[query] - position[key] < window)

    some, whole = _tiles(start, prefix_start, prefix_end, position, window)
    partial_tiles = some & ~whole
    return BlockMask.from_kv_blocks(
        *_listed(partial_tiles),
        *_listed(whole),
        BLOCK_SIZE=TILE,
        mask_mod=sees,
        seq_lengths=(len(start), len(start)),
    )


def _spans(layout: PackedAttention, length: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Per token: start of its block, start and end of its prefix, and position in its text, int32.

    An empty prefix lies at the start of the block, which keeps the tiles of all prefixes close.  Tokens that
    fill the row up see themselves, so that no row of scores is empty.
    """
    device = layout.position_ids.device
    blocks: list[tuple[int, int, int]] = []
    for block in layout.blocks:
        prefix = block.prefix_start if block.prefix_length else block.start
        blocks.append((block.start, prefix, prefix + block.prefix_length))
    fill = -length % TILE
    owners = torch.repeat_interleave(
        torch.arange(len(blocks)), torch.tensor([b.length for b in layout.blocks]), output_size=length
    )
    spans = torch.tensor(blocks, dtype=torch.int32)[owners]
    alone = torch.arange(length, length + fill, dtype=torch.int32)
    spans = torch.cat((spans, alone[:, None].expand(-1, 3)))
    if device.type == "cuda":
        spans = spans.pin_memory()
    # Copies: of views the compiler would look at the base too, and compile again for a row of 3 tiles.
    start, prefix_start, prefix_end = (
        column.contiguous() for column in spans.to(device, non_blocking=True).unbind(1)
    )
    position = F.pad(layout.position_ids[0].to(torch.int32), (0, fill))
    return start, prefix_start, prefix_end, position


def _tiles(
    start: Tensor, prefix_start: Tensor, prefix_end: Tensor, position: Tensor, window: int | None
) -> tuple[Tensor, Tensor]:
    """(tiles, tiles) bool each: may a query of the tile see one of its keys; surely every query every key."""
    first = torch.arange(0, len(start), TILE, device=start.device, dtype=torch.int32)
    last = first + TILE - 1
    numbers = torch.stack((start, prefix_start, prefix_end, position)).view(4, -1, TILE, 1)
    low_start, low_prefix, low_end, low_position = numbers.amin(2)
    high_start, high_prefix, high_end, high_position = numbers.amax(2)
    some = (last >= low_start) & (first <= last[:, None])
    some |= (last >= low_prefix) & (first < high_end)
    whole = (first >= high_start) & (last <= first[:, None])
    whole |= (first >= high_prefix) & (last < low_end)
    if window is not None:
        some &= low_position - high_position.T < window
        whole &= high_position - low_position.T < window
    return some, whole


def _listed(tiles: Tensor) -> tuple[Tensor, Tensor]:
    """Number of marked tiles per row (1, 1, tiles), and columns, marked ones first (1, 1, tiles, tiles)."""
    numbers = tiles.sum(1, dtype=torch.int32)
    columns = tiles.to(torch.int8).argsort(dim=1, descending=True, stable=True).to(torch.int32)
    return numbers[None, None], columns[None, None]
