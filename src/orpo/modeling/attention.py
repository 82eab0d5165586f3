"""Packed rows in transformers' attention interface, so that a model's own code runs unchanged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.utils import logging as transformers_logging

from orpo.batch import PackedAttention
from orpo.ops.attention.backends import packed_row_attention

NAME = "orpo_packed"

KEYWORD = "orpo_attention"
"""The keyword under which a model's forward pass hands a `PackedAttention` on to every layer."""


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    scaling: float | None = None,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    s_aux: Tensor | None = None,
    orpo_attention: PackedAttention | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """A layer's attention, with the signature of transformers' attention functions.

    Args:
        module: the attention layer.
        query: (1, heads, T, head size), with positions applied.
        key: (1, key heads, T, head size).
        value: (1, key heads, T, value size).
        attention_mask: ignored: `orpo_attention` says it all.
        scaling: factor of the scores; None for 1 / sqrt(head size).
        dropout: must be 0.
        sliding_window: keys that a query sees at most; the keyword alone counts, since a layer's attribute of
            that name may not apply to the layer.
        softcap: cap of the scores (Gemma 2).
        s_aux: (heads,) attention sinks (gpt-oss).
        orpo_attention: what sees what.

    Returns:
        (1, T, heads, value size), and no attention weights.
    """
    if orpo_attention is None:
        raise RuntimeError(f"{type(module).__name__}: packed attention was called without a packed row")
    if dropout:
        raise RuntimeError(
            f"{type(module).__name__}: attention dropout of {dropout} is not supported; set it to 0"
        )
    output = packed_row_attention(
        query,
        key,
        value,
        orpo_attention,
        scale=query.shape[-1] ** -0.5 if scaling is None else scaling,
        window=sliding_window,
        softcap=softcap,
        sinks=s_aux,
    )
    return output.transpose(1, 2).contiguous(), None  # as torch's own, which some models rely on


AttentionInterface.register(NAME, attend)


@contextmanager
def attention_of(model: PreTrainedModel, name: str) -> Iterator[bool]:
    """Let `model` use another attention function for a while: forward and backward passes alike.

    Yields:
        Whether the model has taken it; some families do not go through the interface.
    """
    before: Any = model.config._attn_implementation
    _set_quietly(model, name)
    try:
        yield model.config._attn_implementation == name
    finally:
        model.set_attn_implementation(before)


def _set_quietly(model: PreTrainedModel, name: str) -> None:
    """Without transformers' warning if the model does not take it: what to do then is the caller's to say."""
    verbosity = transformers_logging.get_verbosity()
    transformers_logging.set_verbosity_error()
    try:
        model.set_attn_implementation(name)
    finally:
        transformers_logging.set_verbosity(verbosity)
