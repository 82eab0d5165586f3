"""Which terms of the loss each scored token is in, by asking the objective itself.

A token is in a term if the term changes with the token's log-probability.  So what is shown cannot differ
from what is optimised, whatever an objective does with segments, single responses or the prompt.
"""

from __future__ import annotations

from dataclasses import replace
from enum import Flag, auto

import torch
from torch import Tensor

from orpo.batch import MicroBatch, Totals
from orpo.modeling.scorer import collect
from orpo.objectives import Objective


class Terms(Flag):
    """Terms of the loss."""

    NONE = 0
    NLL = auto()
    PREFERENCE = auto()
    BOTH = NLL | PREFERENCE


_ANY_TOTALS = Totals(pairs=1.0, answered=1.0, prompt_tokens=1.0, chosen_tokens=1.0, responses=1.0)
"""Divisors change how much a token counts, not whether it does."""


def terms_of(objective: Objective, batch: MicroBatch) -> list[Terms]:
    """The terms that each of the N scored tokens of `batch` is in, whatever their coefficients."""
    reference = torch.zeros((2, len(batch.weight))) if objective.needs_reference else None
    log_probs = torch.full(batch.targets.shape, -1.0, dtype=torch.float64, requires_grad=True)
    output = objective(collect(log_probs, replace(batch, reference=reference)), _ANY_TOTALS)
    in_nll, in_preference = (_moves(term, log_probs) for term in (output.supervised, output.preference))
    return [
        (Terms.NLL if supervised else Terms.NONE) | (Terms.PREFERENCE if compared else Terms.NONE)
        for supervised, compared in zip(in_nll, in_preference, strict=True)
    ]


def _moves(term: Tensor | None, log_probs: Tensor) -> list[bool]:
    """Whether a term changes with each token's log-probability."""
    if term is None or not term.requires_grad:
        return [False] * len(log_probs)
    (slopes,) = torch.autograd.grad(term, log_probs, retain_graph=True, allow_unused=True)
    return [False] * len(log_probs) if slopes is None else (slopes != 0).tolist()
