"""Token log-probabilities from logits, summed per segment: the plain path, and the oracle of faster ones."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def segment_log_probs(
    logits: Tensor, positions: Tensor, targets: Tensor, segments: Tensor, num_segments: int
) -> Tensor:
    """Sum of log p(target | position) over each segment.

    Only the rows at `positions` are normalised, in float32 at least.

    Args:
        logits: (rows, T, V) of any floating type.
        positions: (N,) flat positions into rows * T.
        targets: (N,) token ids.
        segments: (N,) segment of each scored token, in 0..num_segments-1.
        num_segments: length of the result.

    Returns:
        (num_segments,) sums; 0 for a segment without tokens.
    """
    scored = logits.flatten(0, 1)[positions]
    if scored.dtype != torch.float64:
        scored = scored.float()
    log_probs = -F.cross_entropy(scored, targets, reduction="none")
    return log_probs.new_zeros(num_segments).index_add(0, segments, log_probs)
