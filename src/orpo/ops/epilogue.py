"""What follows the product of hidden states and head: log-probabilities, and their slopes.

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

from orpo.ops.precision import widened

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

    def chain_(self, slopes: Tensor, logits: Tensor) -> Tensor:
        """From derivatives with respect to the logits, which are overwritten, to those of the outputs."""
        if self.softcap is not None:
            slopes.mul_(1 - (logits / self.softcap).square_())
        return slopes if self.scale == 1.0 else slopes.mul_(self.scale)


def log_probs(outputs: Tensor, targets: Tensor, transform: LogitTransform) -> Tensor:
    """Log-probabilities of the targets.

    Args:
        outputs: (n, V) of the output head, of any floating type; the arithmetic is float32 at least.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n,) log p(target), float32 at least.
    """
    if (kernels := _kernels(outputs)) is not None:
        return kernels.log_normalise(outputs, targets, transform)[0]
    result = _new_log_probs(outputs)
    for piece, logits, scratch in _pieces(outputs, transform):
        result[piece] = _softmax(logits, targets[piece], scratch)
    return result


def slopes_(outputs: Tensor, targets: Tensor, transform: LogitTransform) -> Tensor:
    """Log-probabilities of the targets; overwrites `outputs` with their negative derivatives.

    These are -d log p(target) / d outputs: softmax(z) - onehot(target), through the transform.

    Args:
        outputs: (n, V) of the output head, of any floating type; the arithmetic is float32 at least.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n,) log p(target), float32 at least.
    """
    if (kernels := _kernels(outputs)) is not None:
        log_p, normalisers = kernels.log_normalise(outputs, targets, transform)
        kernels.slope_(outputs, normalisers, targets, transform)
        return log_p
    result = _new_log_probs(outputs)
    for piece, logits, slopes in _pieces(outputs, transform):
        target = targets[piece]
        result[piece] = _softmax(logits, target, slopes)
        slopes[torch.arange(len(target), device=target.device), target] -= 1
        outputs[piece] = transform.chain_(slopes, logits)
    return result


def _softmax(logits: Tensor, targets: Tensor, out: Tensor) -> Tensor:
    """(n,) log p(target) of (n, V) logits, whose softmax is written to `out`.

    One fused kernel makes the softmax, in the cache.  A target's own probability may round to 0; the largest
    of a row is 1 / V at least, so the normaliser is told by that one.
    """
    own = logits.gather(1, targets[:, None])[:, 0]
    distance = own - logits.amax(-1)
    torch.softmax(logits, dim=-1, out=out)
    return distance + out.amax(-1).log()


def _new_log_probs(outputs: Tensor) -> Tensor:
    return outputs.new_empty(len(outputs), dtype=widened(outputs.dtype))


def _pieces(outputs: Tensor, transform: LogitTransform) -> Iterator[tuple[slice, Tensor, Tensor]]:
    """Rows that fit into a processor's cache together, and all at once elsewhere.

    Yields which rows, their logits, and scratch of the same size, which is the same for every piece.
    """
    rows, vocabulary = outputs.shape
    size = max(1, PIECE // vocabulary) if outputs.device.type == "cpu" else max(1, rows)
    wide = widened(outputs.dtype)
    scratch = outputs.new_empty((min(size, rows), vocabulary), dtype=wide)
    for start in range(0, rows, size):
        piece = slice(start, min(start + size, rows))
        yield piece, transform(outputs[piece].to(wide)), scratch[: piece.stop - start]


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
