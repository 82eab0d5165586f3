"""What a step must compute and hold, from the configuration and the lengths of its pairs alone."""

from __future__ import annotations

from typing import Any

from transformers import PreTrainedConfig

from orpo.data.batching import Lengths

PEAK_BF16 = {"H100": 989.5e12, "H200": 989.5e12, "A100": 312e12, "L40S": 362e12, "B200": 2250e12}
"""Dense bf16 FLOP/s by the vendor's data sheet, by a part of the device's name (SXM parts)."""


def peak_flops(device_name: str) -> float | None:
    """The data sheet's rate of a GPU; None for one that is not listed."""
    return next((rate for name, rate in PEAK_BF16.items() if name in device_name), None)


def _head_size(config: Any) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def layer_matrices(config: PreTrainedConfig) -> int:
    """Numbers in a layer's matrices: attention projections and a gated MLP."""
    c: Any = config
    size = _head_size(c)
    attention = 2 * c.hidden_size * size * (c.num_attention_heads + c.num_key_value_heads)
    return attention + 3 * c.hidden_size * c.intermediate_size


def useful_flops(config: PreTrainedConfig, lengths: Lengths, *, frozen: bool) -> float:
    """Operations that an ORPO step on these pairs needs at least, each prompt once and nothing padded.

    A matrix product of a trained layer counts three times (forward, gradient of states, gradient of
    weights), that of a frozen one twice.  Attention counts the keys that each query sees, and its backward
    pass twice its forward one.  Only scored tokens meet the head.

    Args:
        config: of a Llama-like model.
        lengths: (n, 3) tokens of prompts, chosen and rejected responses.
        frozen: whether the weights are (LoRA), whose adapters are not counted.
    """
    c: Any = config
    prompt, chosen, rejected = lengths.T.astype(float)
    passes = 2 if frozen else 3
    tokens = lengths.sum()
    scored = (chosen + rejected).sum()
    first = prompt + chosen
    seen = (first * (first + 1) / 2 + rejected * prompt + rejected * (rejected + 1) / 2).sum()
    trunk = passes * 2.0 * layer_matrices(c) * c.num_hidden_layers * tokens
    attention = 3 * 4.0 * _head_size(c) * c.num_attention_heads * c.num_hidden_layers * seen
    head = passes * 2.0 * c.hidden_size * c.vocab_size * scored
    return float(trunk + attention + head)


def memory_terms(
    config: PreTrainedConfig,
    *,
    parameters: int,
    trained: int,
    trained_bytes: int,
    tokens: int,
    scored: int,
    key_ratio: float,
    keep_rows: int,
    chunk_rows: int,
    frozen: bool,
) -> dict[str, float]:
    """Bytes that a step with bf16 weights holds at its peak, by what holds them.

    Activations are counted from what the layers of transformers' Llama save for their backward pass,
    without checkpointing: norms keep their input in float32, and the gated MLP keeps four tensors.

    Args:
        config: of a Llama-like model.
        parameters: all of them.
        trained: those with a gradient.
        trained_bytes: bytes of each of these.
        tokens: of a micro-batch.
        scored: of these, the scored ones.
        key_ratio: keys over queries, more than 1 where prompts are gathered again.
        keep_rows: rows of head outputs that are kept.
        chunk_rows: rows of head outputs that exist in float32 at a time.
        frozen: whether the model's own weights are (LoRA).
    """
    c: Any = config
    hidden, ffn, vocab = c.hidden_size, c.intermediate_size, c.vocab_size
    queries = _head_size(c) * c.num_attention_heads
    keys = _head_size(c) * c.num_key_value_heads
    attention = 2 * queries + 2 * queries + 4 * keys * key_ratio + 4 * c.num_attention_heads
    if frozen:
        # Norms keep float32 inputs only; each adapter keeps a copy of its input.
        layer = 2 * 4 * hidden + attention + 2 * (3 * hidden + queries + 2 * hidden) + 2 * 4 * ffn
    else:
        layer = 2 * (4 + 2 + 2) * hidden + attention + 2 * 4 * ffn
    final = (4 + 2 + 2) * hidden
    kept = 0 if frozen else min(scored, keep_rows)
    head = 2 * vocab * kept + (4 + 2) * vocab * min(scored, chunk_rows) + (2 + 2 + 4) * hidden * scored
    if not frozen:
        head += (4 + 2) * vocab * hidden
    return {
        "weights": 2 * (parameters - (trained if frozen else 0)) + (trained_bytes * trained if frozen else 0),
        "gradients": trained_bytes * trained,
        # AdamW's two moments in float32, and what bfloat16 weights lack of float32.
        "optimizer": (8 + 4 - trained_bytes) * trained,
        "activations": float(tokens) * (layer * c.num_hidden_layers + final),
        "head": float(head),
    }
