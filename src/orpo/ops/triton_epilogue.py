"""The epilogue of the output head as two Triton kernels, each of which passes over the outputs once.

What `orpo.ops.epilogue` does on any device, in float32 whatever the outputs are kept in.  Importing this
module needs Triton, which comes with torch for NVIDIA GPUs on Linux.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

if TYPE_CHECKING:
    from orpo.ops.epilogue import LogitTransform

BLOCK = 4096
"""Outputs that a program holds at a time."""

WARPS = 8


def log_normalise(outputs: Tensor, targets: Tensor, transform: LogitTransform) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets, and what normalises each row, in one pass.

    Args:
        outputs: (n, V) of the output head, float32 or half precision, whose rows may lie apart.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n,) log p(target), and (n,) logsumexp of the logits, float32.
    """
    rows, vocab_size = _shape(outputs)
    log_probs = torch.empty(rows, dtype=torch.float32, device=outputs.device)
    normalisers = torch.empty_like(log_probs)
    if rows:
        _log_normalise_kernel[(rows,)](  # pyright: ignore[reportIndexIssue]
            outputs,
            outputs.stride(0),
            targets,
            log_probs,
            normalisers,
            float(transform.scale),
            float(transform.softcap or 0.0),
            VOCAB_SIZE=vocab_size,
            HAS_CAP=transform.softcap is not None,
            BLOCK=BLOCK,
            num_warps=WARPS,  # pyright: ignore[reportCallIssue]
        )
    return log_probs, normalisers


def slope_(outputs: Tensor, normalisers: Tensor, targets: Tensor, transform: LogitTransform) -> Tensor:
    """-d log p(target) / d outputs: softmax(z) - onehot(target), through the transform; overwrites `outputs`.

    Args:
        outputs: (n, V) of the output head, float32 or half precision, whose rows may lie apart.
        normalisers: (n,) from `log_normalise`.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n, V), the storage of `outputs`.
    """
    rows, vocab_size = _shape(outputs)
    if rows:
        _slope_kernel[(rows,)](  # pyright: ignore[reportIndexIssue]
            outputs,
            outputs.stride(0),
            targets,
            normalisers,
            float(transform.scale),
            float(transform.softcap or 0.0),
            VOCAB_SIZE=vocab_size,
            HAS_CAP=transform.softcap is not None,
            BLOCK=BLOCK,
            num_warps=WARPS,  # pyright: ignore[reportCallIssue]
        )
    return outputs


def _shape(outputs: Tensor) -> tuple[int, int]:
    assert outputs.stride(1) == 1
    assert outputs.dtype != torch.float64
    rows, vocab_size = outputs.shape
    return rows, vocab_size


@triton.jit
def _tanh(x):
    # Of -2|x|, so that nothing overflows.
    power = tl.exp(-2.0 * tl.abs(x))
    size = (1.0 - power) / (1.0 + power)
    return tl.where(x < 0, -size, size)


@triton.jit
def _logit(x, scale, softcap, HAS_CAP: tl.constexpr):  # noqa: N803
    z = x.to(tl.float32) * scale
    if HAS_CAP:
        z = softcap * _tanh(z / softcap)
    return z


@triton.jit
def _log_normalise_kernel(
    outputs,
    stride,
    targets,
    log_probs,
    normalisers,
    scale,
    softcap,
    VOCAB_SIZE: tl.constexpr,  # noqa: N803
    HAS_CAP: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    # Offsets of a row exceed 2^31: 20,000 rows of 128,000 outputs do.
    row = tl.program_id(0).to(tl.int64)
    start_of_row = outputs + row * stride
    columns = tl.arange(0, BLOCK)
    largest = float("-inf")
    total = 0.0
    for first in range(0, VOCAB_SIZE, BLOCK):
        inside = first + columns < VOCAB_SIZE
        x = tl.load(start_of_row + first + columns, mask=inside, other=0.0)
        z = tl.where(inside, _logit(x, scale, softcap, HAS_CAP), float("-inf"))
        larger = tl.maximum(largest, tl.max(z, 0))
        # A block of -inf alone must not make a NaN of -inf - -inf.
        shift = tl.where(larger == float("-inf"), 0.0, larger)
        total = total * tl.exp(largest - shift) + tl.sum(tl.exp(z - shift), 0)
        largest = larger
    normaliser = largest + tl.log(total)
    target = tl.load(targets + row)
    at_target = _logit(tl.load(start_of_row + target), scale, softcap, HAS_CAP)
    tl.store(log_probs + row, at_target - normaliser)
    tl.store(normalisers + row, normaliser)


@triton.jit
def _slope_kernel(
    outputs,
    stride,
    targets,
    normalisers,
    scale,
    softcap,
    VOCAB_SIZE: tl.constexpr,  # noqa: N803
    HAS_CAP: tl.constexpr,  # noqa: N803
    BLOCK: tl.constexpr,  # noqa: N803
):
    row = tl.program_id(0).to(tl.int64)
    start_of_row = outputs + row * stride
    columns = tl.arange(0, BLOCK)
    normaliser = tl.load(normalisers + row)
    target = tl.load(targets + row)
    for first in range(0, VOCAB_SIZE, BLOCK):
        inside = first + columns < VOCAB_SIZE
        x = tl.load(start_of_row + first + columns, mask=inside, other=0.0)
        z = _logit(x, scale, softcap, HAS_CAP)
        slope = tl.exp(z - normaliser) - tl.where(first + columns == target, 1.0, 0.0)
        if HAS_CAP:
            bent = z / softcap
            slope = slope * (1.0 - bent * bent)
        tl.store(start_of_row + first + columns, slope * scale, mask=inside)
