"""Packed rows and tensors to attend over, for the tests of the backends."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orpo.batch import Block, PackedAttention

SHARED_ROW = ((100, 30, 40), (1, 1, 1), (7, 150, 3), (2, 1, 64))
"""Prompt, chosen and rejected tokens of pairs: 400 tokens together, most texts across borders of tiles."""


@dataclass(frozen=True)
class Row:
    """A packed row and float64 tensors over it, 4 heads in 2 groups, with gradient."""

    layout: PackedAttention
    query: Tensor
    key: Tensor
    value: Tensor

    def to(self, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
        """Query, key and value in another type, detached."""
        return tuple(x.detach().to(dtype) for x in (self.query, self.key, self.value))  # type: ignore[return-value]


def shared_layout(pairs: tuple[tuple[int, int, int], ...] = SHARED_ROW) -> PackedAttention:
    """[prompt | chosen | rejected] per pair."""
    blocks: list[Block] = []
    start = 0
    for prompt, chosen, rejected in pairs:
        blocks.append(Block(start, prompt + chosen))
        blocks.append(Block(start + prompt + chosen, rejected, start, prompt))
        start += prompt + chosen + rejected
    return PackedAttention.of(blocks)


def unshared_layout(pairs: tuple[tuple[int, int, int], ...] = SHARED_ROW) -> PackedAttention:
    """[prompt | chosen] [prompt | rejected] per pair."""
    lengths = [prompt + response for prompt, *responses in pairs for response in responses]
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return PackedAttention.of([Block(*block) for block in zip(starts, lengths, strict=True)])


def random_row(layout: PackedAttention, *, head_size: int = 16, value_size: int = 16) -> Row:
    """Random tensors over `layout`."""
    torch.manual_seed(0)
    length = layout.position_ids.shape[1]
    shapes = ((4, head_size), (2, head_size), (2, value_size))
    tensors = [
        torch.randn(1, heads, length, size, dtype=torch.float64, requires_grad=True) for heads, size in shapes
    ]
    return Row(layout, *tensors)
