"""Which backend computes the attention of a packed row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from orpo.batch import PackedAttention
from orpo.ops.attention.blocks import block_attention
from orpo.ops.attention.cpu import cpu_attention
from orpo.ops.attention.flex import TILE, flex_attention
from orpo.ops.attention.varlen import (
    flash_attn_attention,
    flash_attn_kernel,
    torch_has_windows,
    varlen_attention,
)


class Backend(StrEnum):
    """The implementations of a packed row's attention."""

    CPU = "cpu"
    """torch's CPU kernel, block by block."""

    BLOCKS = "blocks"
    """Block by block: any device, any model."""

    VARLEN = "varlen"
    """FlashAttention as torch ships it."""

    FLASH_ATTN = "flash_attn"
    """FlashAttention as the package flash_attn ships it."""

    FLEX = "flex"
    """A kernel that is generated for the row's mask."""


@dataclass(frozen=True)
class Kernels:
    """What a GPU and the packages beside it offer."""

    flash: bool
    """torch's FlashAttention runs here: a GPU of compute capability 8.0, in a build that has it."""

    windows: bool
    """torch's FlashAttention takes windows and scales."""

    flash_attn: bool
    """The package flash_attn is installed."""

    triton: bool
    """Kernels can be generated."""


def choose_backend(
    *,
    device: str,
    dtype: torch.dtype,
    head_size: int,
    value_size: int,
    scale: float,
    window: int | None,
    softcap: bool,
    sinks: bool,
    tokens: int,
    kernels: Kernels | None,
) -> Backend:
    """The fastest backend that computes this exactly.

    Args:
        device: kind of the device.
        dtype: of query, key and value.
        head_size: of query and key.
        value_size: of value.
        scale: factor of the scores.
        window: keys that a query sees at most, or None.
        softcap: whether scores are capped.
        sinks: whether sinks take part in the softmax.
        tokens: of the row.
        kernels: what there is on the device; None for one that is no CUDA GPU.
    """
    if device == "cpu" and head_size == value_size and not softcap and not sinks:
        return Backend.CPU
    if kernels is None or dtype == torch.float64:
        return Backend.BLOCKS
    is_half = dtype in (torch.float16, torch.bfloat16)
    fits = is_half and head_size == value_size and head_size % 8 == 0 and head_size <= 256
    if fits and kernels.flash and not sinks:
        is_plain = window is None and scale == head_size**-0.5
        if not softcap and (kernels.windows or is_plain):
            return Backend.VARLEN
        if kernels.flash_attn:
            return Backend.FLASH_ATTN
    # Less than a tile is not worth a kernel: a self-check's row, say, of which several gradients are asked.
    if kernels.triton and min(head_size, value_size) >= 16 and tokens >= TILE:
        return Backend.FLEX
    return Backend.BLOCKS


@cache
def _kernels(device: torch.device) -> Kernels | None:
    if device.type != "cuda":
        return None
    flash = torch.cuda.get_device_capability(device) >= (8, 0)
    return Kernels(
        flash=flash and torch.backends.cuda.is_flash_attention_available(),
        windows=torch_has_windows(),
        flash_attn=flash and flash_attn_kernel() is not None,
        triton=find_spec("triton") is not None,
    )


ATTENTION: dict[Backend, Callable[..., Tensor]] = {
    Backend.CPU: cpu_attention,
    Backend.BLOCKS: block_attention,
    Backend.VARLEN: varlen_attention,
    Backend.FLASH_ATTN: flash_attn_attention,
    Backend.FLEX: flex_attention,
}


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
    query, key, value = _autocast(query, key, value)
    backend = choose_backend(
        device=query.device.type,
        dtype=query.dtype,
        head_size=query.shape[-1],
        value_size=value.shape[-1],
        scale=scale,
        window=window,
        softcap=softcap is not None,
        sinks=sinks is not None,
        tokens=query.shape[2],
        kernels=_kernels(query.device),
    )
    return ATTENTION[backend](
        query, key, value, layout, scale=scale, window=window, softcap=softcap, sinks=sinks
    )


def _autocast(query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """What autocast does before torch's own attention: rotary embeddings can leave float32 among halves."""
    kind = query.device.type
    if torch.is_autocast_enabled(kind) and query.dtype != torch.float64:
        dtype = torch.get_autocast_dtype(kind)
        return query.to(dtype), key.to(dtype), value.to(dtype)
    return query, key, value
