"""Which backend computes the attention of a packed row."""

from __future__ import annotations

from torch import Tensor

from orpo.batch import PackedAttention
from orpo.ops.attention.blocks import block_attention


def packed_row_attention(
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
    """Attention of a packed row by the fastest backend that can; see `block_attention` for the arguments."""
    return block_attention(
        query, key, value, layout, scale=scale, window=window, softcap=softcap, sinks=sinks
    )
