"""Token log-probabilities from logits, and their sums per segment."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor

from orpo.ops.precision import widened


def logits_log_probs(logits: Tensor, targets: Tensor) -> Tensor:
    """log p(target) of each row, normalised in float32 at least: the plain path, and an oracle.

    Args:
        logits: (N, V) of any floating type.
        targets: (N,) token ids.

    Returns:
        (N,) log-probabilities.
    """
    wide = logits.to(widened(logits.dtype))
    return -F.cross_entropy(wide, targets, reduction="none")


def segment_sums(log_probs: Tensor, segments: Tensor, num_segments: int) -> Tensor:
    """Sum of the log-probabilities of each segment.

    Args:
        log_probs: (N,) of the scored tokens.
        segments: (N,) segment of each, in 0..num_segments-1.
        num_segments: length of the result.

    Returns:
        (num_segments,) sums; 0 for a segment without tokens.
    """
    return log_probs.new_zeros(num_segments).index_add(0, segments, log_probs)
