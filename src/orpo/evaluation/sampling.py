"""Sampling in which each row has its own random numbers, so that what stands beside it changes nothing."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from transformers import LogitsProcessor

Seed = Sequence[int]
"""Numbers that together name a stream of random numbers."""


def uniform_numbers(seeds: Sequence[Seed], count: int) -> Tensor:
    """(R, count) numbers in [0, 1), those of each row from its own seed; more of them begin with the same."""
    drawn = [np.random.default_rng(list(seed)).random(count) for seed in seeds]
    return torch.from_numpy(np.stack(drawn))


class InverseTransformSampling(LogitsProcessor):
    """Leaves of each row's tokens the one whose share of the unit interval a given number falls into.

    Taking the likeliest token afterwards is then to sample: a step needs one random number for a row, rather
    than one generator for the batch.

    Args:
        uniforms: (R, T) numbers in [0, 1), one for each token that a row may get.
        start: tokens of the prompts, padding included.
        temperature: above 0.
        top_p: sample from the likeliest tokens that together have at least this probability; 1 is all.
    """

    def __init__(self, uniforms: Tensor, start: int, *, temperature: float, top_p: float) -> None:
        self._uniforms = uniforms
        self._start = start
        self._temperature = temperature
        self._top_p = top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """(R, V) 0 of the sampled tokens and minus infinity of all others.

        Args:
            input_ids: (R, N) tokens until now.
            scores: (R, V) logits of the next ones.
        """
        probabilities = (scores.float() / self._temperature).softmax(-1)
        if self._top_p < 1:
            probabilities = nucleus(probabilities, self._top_p)
        # A sum over a large vocabulary leaves float32 five digits; some devices have nothing finer.
        finest = torch.float32 if scores.device.type == "mps" else torch.float64
        ends = probabilities.to(finest).cumsum(-1)
        at = self._uniforms[:, [input_ids.shape[1] - self._start]].to(ends) * ends[:, -1:]
        sampled = torch.searchsorted(ends, at, right=True).clamp(max=scores.shape[-1] - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, sampled, 0.0)


def nucleus(probabilities: Tensor, top_p: float) -> Tensor:
    """Probabilities with 0 for all but the likeliest tokens that together have at least `top_p`
    (Holtzman et al. 2020, arXiv:1904.09751); the others keep theirs.

    Args:
        probabilities: (R, V).
        top_p: in (0, 1).
    """
    ordered, order = probabilities.sort(dim=-1, descending=True, stable=True)
    before = ordered.cumsum(-1) - ordered
    return torch.zeros_like(probabilities).scatter(-1, order, ordered.where(before < top_p, 0.0))
