"""What follows the product of hidden states and head: normalisation, and the slope of a log-probability.

In plain torch for any device; on CUDA the kernels of `triton_epilogue` take its place where Triton is
installed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from types import ModuleType

import torch
from torch import Tensor

PIECE = 2**19
"""Numbers of a piece on a CPU: 2 MB in float32."""


@dataclass(frozen=True)
class LogitTransform:
    """What a model does to the head's outputs x to get its logits z = cap * tanh(scale * x / cap)."""

    scale: float = 1.0
    softcap: float | None = None

    def __call__(self, outputs: Tensor) -> Tensor:
        """The logits, with gradient."""
        logits = outputs if self.scale == 1.0 else outputs * self.scale
        return logits if self.softcap is None else self.softcap * torch.tanh(logits / self.softcap)


def log_normalise(outputs: Tensor, targets: Tensor, transform: LogitTransform) -> tuple[Tensor, Tensor]:
    """Log-probabilities of the targets, and what normalises each row.

    Args:
        outputs: (n, V) of the output head, of any floating type; the arithmetic is float32 at least.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n,) log p(target), and (n,) logsumexp of the logits, float32 at least.
    """
    if (kernels := _kernels(outputs)) is not None:
        return kernels.log_normalise(outputs, targets, transform)
    wide = torch.promote_types(outputs.dtype, torch.float32)
    log_probs = outputs.new_empty(len(outputs), dtype=wide)
    normalisers = torch.empty_like(log_probs)
    scratch: Tensor | None = None
    for piece in _pieces(outputs):
        logits = transform(outputs[piece].to(wide))
        if scratch is None:
            scratch = torch.empty_like(logits)
        # The fused kernel writes as many numbers, but into the cache; logsumexp reads its input five times.
        normalised = torch.log_softmax(logits, dim=-1, out=scratch[: len(logits)])
        target = targets[piece, None]
        log_probs[piece] = normalised.gather(1, target)[:, 0]
        normalisers[piece] = logits.gather(1, target)[:, 0] - log_probs[piece]
    return log_probs, normalisers


def slope_(outputs: Tensor, normalisers: Tensor, targets: Tensor, transform: LogitTransform) -> Tensor:
    """-d log p(target) / d outputs: softmax(z) - onehot(target), through the transform; overwrites `outputs`.

    Args:
        outputs: (n, V) of the output head, of any floating type; the arithmetic is float32 at least.
        normalisers: (n,) from `log_normalise`.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n, V), the storage of `outputs`.
    """
    if (kernels := _kernels(outputs)) is not None:
        return kernels.slope_(outputs, normalisers, targets, transform)
    wide = torch.promote_types(outputs.dtype, torch.float32)
    for piece in _pieces(outputs):
        slopes = outputs[piece].to(wide)  # the same storage unless the type is narrower
        _slope_(slopes, normalisers[piece], targets[piece], transform)
        if wide != outputs.dtype:
            outputs[piece] = slopes
    return outputs


def _slope_(outputs: Tensor, normalisers: Tensor, targets: Tensor, transform: LogitTransform) -> None:
    inner: Tensor | float = transform.scale
    logits = outputs.mul_(transform.scale) if transform.scale != 1.0 else outputs
    if transform.softcap is not None:
        bent = logits.div_(transform.softcap).tanh_()
        inner = (1 - bent.square()).mul_(transform.scale)
        logits = bent.mul_(transform.softcap)
    slopes = logits.sub_(normalisers[:, None]).exp_()
    slopes[torch.arange(len(targets), device=targets.device), targets] -= 1
    if isinstance(inner, Tensor) or inner != 1.0:
        slopes.mul_(inner)


def _pieces(outputs: Tensor) -> Iterator[slice]:
    """Rows that fit into a processor's cache together; all of them at once elsewhere."""
    rows, vocabulary = outputs.shape
    size = max(1, PIECE // vocabulary) if outputs.device.type == "cpu" else max(1, rows)
    return (slice(start, start + size) for start in range(0, rows, size))


def _kernels(outputs: Tensor) -> ModuleType | None:
    """The module of Triton kernels, if they apply."""
    return _triton_epilogue() if outputs.is_cuda and outputs.dtype != torch.float64 else None


@cache
def _triton_epilogue() -> ModuleType | None:
    try:
        from orpo.ops import triton_epilogue
    except ImportError:
        return None
    return triton_epilogue
