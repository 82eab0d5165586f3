"""Attention over a packed row on a CPU: torch's own kernel, block by block, with one copy of what it saves.

`block_attention` computes the same through `scaled_dot_product_attention`, whose autograd keeps each block's
output beside the row's, and the gathered keys and values of every block with a prefix.  Here the row's query,
key, value and output are all that is kept, and keys are gathered again in the backward pass.

The arithmetic is float32: at the lengths of responses the kernel takes longer in bfloat16.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from orpo.batch import Block, PackedAttention
from orpo.ops.attention.blocks import causal_or_mask
from orpo.ops.precision import widened

_forward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu
_backward = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward


def cpu_attention(
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
    """Attention of a packed row; see `block_attention`.

    Queries, keys and values have heads of one size; there is neither `softcap` nor `sinks`.
    """
    assert softcap is None, "left to block_attention"
    assert sinks is None, "left to block_attention"
    return _CpuAttention.apply(query, key, value, layout, scale, window)  # type: ignore[no-any-return]


class _CpuAttention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layout: PackedAttention,
        scale: float,
        window: int | None,
    ) -> Tensor:
        output = _row_like(query)
        queries, keys, values = (_wide(row) for row in (query, key, value))
        sums: list[Tensor] = []
        for block, q, out in zip(layout.blocks, *_split(layout, queries, output), strict=True):
            mask = causal_or_mask(layout, block, window, q.dtype, q.device)
            attended, lse = _forward(
                q,
                _gather(keys, block),
                _gather(values, block),
                is_causal=mask is None,
                attn_mask=mask,
                scale=scale,
            )
            out.copy_(attended)
            sums.append(lse)
        ctx.save_for_backward(query, key, value, output, *sums)
        ctx.options = layout, scale, window
        return output

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        query, key, value, output, *sums = ctx.saved_tensors
        layout, scale, window = ctx.options
        queries, keys, values = (_wide(row) for row in (query, key, value))
        grad_query, grad_key, grad_value = (_row_like(row) for row in (queries, keys, values))
        own = _split(layout, _wide(grads[0]), queries, _wide(output), grad_query, grad_key, grad_value)
        for block, lse, grad, q, out, grad_q, grad_k, grad_v in zip(layout.blocks, sums, *own, strict=True):
            mask = causal_or_mask(layout, block, window, q.dtype, q.device)
            found_q, found_k, found_v = _backward(
                grad,
                q,
                _gather(keys, block),
                _gather(values, block),
                out,
                lse,
                0.0,
                mask is None,
                attn_mask=mask,
                scale=scale,
            )
            grad_q.copy_(found_q)
            for total, part, found in ((grad_key, grad_k, found_k), (grad_value, grad_v, found_v)):
                part.copy_(found[:, :, block.prefix_length :])
                if block.prefix_length:
                    # The block that owns the prefix comes earlier and has been written.
                    total[:, :, _prefix(block)] += found[:, :, : block.prefix_length]
        gradients = (grad_query.to(query.dtype), grad_key.to(key.dtype), grad_value.to(value.dtype))
        return *gradients, None, None, None


def _split(layout: PackedAttention, *rows: Tensor) -> list[tuple[Tensor, ...]]:
    """Of each of some rows, what belongs to each block."""
    lengths = [block.length for block in layout.blocks]
    return [row.split(lengths, dim=2) for row in rows]


def _prefix(block: Block) -> slice:
    return slice(block.prefix_start, block.prefix_start + block.prefix_length)


def _gather(states: Tensor, block: Block) -> Tensor:
    """Keys or values that a block sees."""
    own = states[:, :, block.start : block.start + block.length]
    return torch.cat((states[:, :, _prefix(block)], own), dim=2) if block.prefix_length else own


def _wide(states: Tensor) -> Tensor:
    return states.to(widened(states.dtype))


def _row_like(states: Tensor) -> Tensor:
    """Empty, of the shape (1, heads, T, size), with the tokens of a row adjacent in memory."""
    batch, heads, length, size = states.shape
    return states.new_empty(batch, length, heads, size).transpose(1, 2)
