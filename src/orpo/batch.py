"""The nouns that travel between data, model and objective.

Shape legend, used in names and comments everywhere:

    B   pairs in a micro-batch
    T   tokens in a row, padding included
    V   vocabulary
    H   hidden size

A *segment* is the prompt, the chosen response or the rejected response of one pair; a *score* is the sum
of a segment's token log-probabilities, with the number of tokens summed.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor


@dataclass(frozen=True)
class PaddedBatch:
    """A micro-batch in the plain layout: every branch of every pair is a right-padded row of its own.

    Rows 0..B-1 are prompt + chosen, rows B..2B-1 are prompt + rejected.  A token is scored by the logits of
    the position before it, so the N scored tokens are named by flat positions into the (2B * T) logits.
    There is no attention mask: padding comes after every real token, which causal attention never looks at.
    """

    input_ids: Tensor
    """(2B, T) int64."""

    positions: Tensor
    """(N,) int64, flat positions whose logits predict the scored tokens."""

    targets: Tensor
    """(N,) int64, ids of the scored tokens."""

    segments: Tensor
    """(N,) int64, segment of each scored token: b chosen, B + b rejected, 2B + b prompt of pair b."""

    counts: Tensor
    """(3, B) float32, scored tokens of the chosen, rejected and prompt segments."""

    weight: Tensor
    """(B,) float32, the pair's weight in every mean. 0 on the stand-in of a rank that has no pairs."""

    def to(self, device: torch.device) -> PaddedBatch:
        """The same batch on `device`."""
        moved = {f.name: getattr(self, f.name).to(device, non_blocking=True) for f in fields(self)}
        return PaddedBatch(**moved)


@dataclass(frozen=True)
class Scores:
    """Sums of token log-probabilities and their counts, (B,) float32 each (float64 for a float64 model)."""

    chosen: Tensor
    rejected: Tensor
    prompt: Tensor
    chosen_count: Tensor
    rejected_count: Tensor
    prompt_count: Tensor
    weight: Tensor

    @property
    def chosen_mean(self) -> Tensor:
        """a(y_w|x), (B,): length-averaged log-probability of the chosen response (paper, Eq. 3)."""
        return self.chosen / self.chosen_count

    @property
    def rejected_mean(self) -> Tensor:
        """a(y_l|x), (B,): length-averaged log-probability of the rejected response (paper, Eq. 3)."""
        return self.rejected / self.rejected_count


@dataclass(frozen=True)
class Totals:
    """What a global batch is divided by: the sums over all its pairs, on all ranks."""

    pairs: float
    """Sum of the pairs' weights."""

    prompt_tokens: float
    """Prompt tokens after the first of each pair: those that a model can score."""

    chosen_tokens: float
    """Tokens of the chosen responses."""
