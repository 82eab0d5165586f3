"""Attention over a packed row by FlashAttention's kernels for texts of unequal lengths.

Queries and keys of a block may differ in number; the kernels then align the causal mask at the last query and
the last key, which is what a block means.  So the prompt's keys are gathered once more for the response that
shares them, and nothing is computed that a mask would throw away.  Half precision on a GPU only.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache
from typing import Any

from torch import Tensor

from orpo.batch import PackedAttention


def varlen_attention(
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
    """Attention of a packed row by torch's own kernel; see `block_attention` for the arguments.

    `torch.nn.attention.activate_flash_attention_impl` turns it into FlashAttention 3 or 4 if installed.

    Raises:
        NotImplementedError: for softcap and sinks, and before torch 2.11 for windows and unusual scales.
    """
    if softcap is not None or sinks is not None:
        raise NotImplementedError("torch's varlen_attn has neither softcap nor sinks")
    attend = _torch_kernel()
    options: dict[str, Any] = {}
    accepted = _torch_options()
    if "window_size" in accepted:
        options |= {"scale": scale, "window_size": _window_size(window)}
    elif window is None and scale == query.shape[-1] ** -0.5:
        options |= {"is_causal": True}
    else:
        raise NotImplementedError("varlen_attn of torch 2.10 has neither windows nor a scale")
    if "enable_gqa" in accepted:
        options |= {"enable_gqa": True}  # before torch 2.12 nothing has to be said
    return _gathered(query, key, value, layout, lambda *tensors: attend(*tensors, **options))


def flash_attn_attention(
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
    """Attention of a packed row by the package flash_attn, which has softcap.

    See `block_attention` for the arguments.

    Raises:
        NotImplementedError: for sinks.
        RuntimeError: the package is not installed.
    """
    if sinks is not None:
        raise NotImplementedError("flash_attn has no sinks")
    attend = flash_attn_kernel()
    if attend is None:
        raise RuntimeError("flash_attn is not installed")

    def call(*tensors: Any) -> Tensor:
        return attend(
            *tensors,
            softmax_scale=scale,
            causal=True,
            window_size=_window_size(window),
            softcap=softcap or 0.0,
        )

    return _gathered(query, key, value, layout, call)


def _gathered(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: PackedAttention,
    attend: Callable[..., Tensor],
) -> Tensor:
    """Call a kernel with (tokens, heads, size) tensors, offsets, and lengths that the host knows."""
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    if len(layout.key_index) > len(k):
        k, v = (x.index_select(0, layout.key_index) for x in (k, v))
    output = attend(
        q,
        k,
        v,
        layout.query_offsets,
        layout.key_offsets,
        layout.max_query_length,
        layout.max_key_length,
    )
    return output.transpose(0, 1)[None]


def _window_size(window: int | None) -> tuple[int, int]:
    """Keys to the left and to the right of a query's own; -1 for all."""
    return (-1, 0) if window is None else (window - 1, 0)


def _torch_kernel() -> Callable[..., Any]:
    from torch.nn.attention.varlen import varlen_attn

    return varlen_attn


@cache
def _torch_options() -> frozenset[str]:
    """What torch's kernel can be told: windows and scales since 2.11, grouped queries since 2.12."""
    return frozenset(inspect.signature(_torch_kernel()).parameters)


def torch_has_windows() -> bool:
    """Whether torch's kernel takes windows and scales, which it does since 2.11."""
    return "window_size" in _torch_options()


@cache
def flash_attn_kernel() -> Callable[..., Tensor] | None:
    """flash_attn's varlen function, or None where the package is missing or was built for another torch."""
    try:
        from flash_attn import flash_attn_varlen_func  # pyright: ignore[reportMissingImports]
    except ImportError:
        return None
    return flash_attn_varlen_func
