"""What follows the product of hidden states and head: normalisation, and the slope of a log-probability."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


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
        outputs: (n, V) of the output head, float32 or float64.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n,) log p(target), and (n,) logsumexp of the logits.
    """
    logits = transform(outputs)
    at_target = logits.gather(1, targets[:, None])[:, 0]
    # One pass of a fused kernel, where logsumexp takes five of elementary ones.
    log_probs = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    return log_probs, at_target - log_probs


def slope_(outputs: Tensor, normalisers: Tensor, targets: Tensor, transform: LogitTransform) -> Tensor:
    """-d log p(target) / d outputs: softmax(z) - onehot(target), through the transform; overwrites `outputs`.

    Args:
        outputs: (n, V) of the output head, float32 or float64.
        normalisers: (n,) from `log_normalise`.
        targets: (n,) token ids.
        transform: from the head's outputs to logits.

    Returns:
        (n, V), the storage of `outputs`.
    """
    if transform.scale != 1.0:
        outputs.mul_(transform.scale)
    inner = None
    if transform.softcap is not None:
        bent = outputs.div_(transform.softcap).tanh_()
        inner = (1 - bent.square()).mul_(transform.scale)
        outputs.mul_(transform.softcap)
    slopes = outputs.sub_(normalisers[:, None]).exp_()
    slopes[torch.arange(len(targets), device=targets.device), targets] -= 1
    if inner is not None:
        slopes.mul_(inner)
    elif transform.scale != 1.0:
        slopes.mul_(transform.scale)
    return slopes
