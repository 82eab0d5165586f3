"""Attention over a packed row, block by block: any device, any type, softcap and sinks.

Each block is a dense causal attention of its own, so nothing is computed that a mask would throw away.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from orpo.batch import Block, PackedAttention
from orpo.ops.precision import widened


def block_attention(
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
    """Attention of a packed row.

    Args:
        query: (1, heads, T, head size).
        key: (1, key heads, T, head size); `heads` is a multiple of `key heads`.
        value: (1, key heads, T, value size).
        layout: what sees what.
        scale: factor of the scores.
        window: keys that a query sees at most, itself included; None for all.
        softcap: c in scores -> c * tanh(scores / c), before the softmax (Gemma 2).
        sinks: (heads,) logits that take part in the softmax and contribute no value (gpt-oss).

    Returns:
        (1, heads, T, value size).
    """
    lengths = [block.length for block in layout.blocks]
    queries, keys, values = (x.split(lengths, dim=2) for x in (query, key, value))
    index_of = {block.start: i for i, block in enumerate(layout.blocks)}
    outputs: list[Tensor] = []
    for i, block in enumerate(layout.blocks):
        k, v = keys[i], values[i]
        if block.prefix_length:
            # A prefix is the beginning of an earlier block.
            owner = index_of[block.prefix_start]
            k = torch.cat((keys[owner][:, :, : block.prefix_length], k), dim=2)
            v = torch.cat((values[owner][:, :, : block.prefix_length], v), dim=2)
        if softcap is None and sinks is None:
            mask = causal_or_mask(layout, block, window, query.dtype, query.device)
            attended = F.scaled_dot_product_attention(
                queries[i], k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=True
            )
        else:
            mask = block_mask(layout, block, window, query.dtype, query.device)
            attended = _written_out(queries[i], k, v, mask, scale, softcap, sinks)
        outputs.append(attended.transpose(1, 2))
    # The tokens of a row are adjacent in memory, as the layer's next product wants them.
    return torch.cat(outputs, dim=1).transpose(1, 2)


def causal_or_mask(
    layout: PackedAttention, block: Block, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor | None:
    """None where a kernel's own causal attention is what a block needs, else its mask."""
    is_causal = not block.prefix_length and (window is None or window >= block.length)
    return None if is_causal else block_mask(layout, block, window, dtype, device)


def block_mask(
    layout: PackedAttention, block: Block, window: int | None, dtype: torch.dtype, device: torch.device
) -> Tensor:
    """What a block's queries see of its keys, derived once per micro-batch.

    Args:
        layout: the row.
        block: one of its blocks.
        window: keys that a query sees at most, or None.
        dtype: of the mask.
        device: of the mask.

    Returns:
        (queries, keys), 0 where a query sees a key and -inf elsewhere.
    """
    at = ("mask", block, window, dtype)
    if at not in layout.derived:
        keys = torch.arange(block.key_length, device=device)
        positions = keys[block.prefix_length :, None]
        hidden = keys > positions
        if window is not None:
            hidden |= keys <= positions - window
        mask = torch.zeros(hidden.shape, dtype=dtype, device=device)
        layout.derived[at] = mask.masked_fill_(hidden, -torch.inf)
    return layout.derived[at]


def _written_out(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None,
) -> Tensor:
    """Attention of one block by its definition, for what the fused kernel cannot do."""
    group = query.shape[1] // key.shape[1]
    key, value = (x.repeat_interleave(group, dim=1) for x in (key, value))
    scores = query @ key.mT * scale
    scores = scores.to(widened(scores.dtype))
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    scores = scores + mask
    if sinks is not None:
        column = sinks.to(scores.dtype)[None, :, None, None].expand(*scores.shape[:-1], 1)
        scores = torch.cat((scores, column), dim=-1)
    weights = scores.softmax(-1)[..., : key.shape[2]]
    return weights.to(value.dtype) @ value
