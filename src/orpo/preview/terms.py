"""Which terms of the loss each scored token is in, by asking the objective itself.

A token is in a term if the term changes with the token's log-probability, or with the value that a reward
model gives a response at its last token.  So what is shown cannot differ from what is optimised, whatever an
objective does with segments, single responses or the prompt.
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
    numbers = torch.full(batch.targets.shape, -1.0, dtype=torch.float64, requires_grad=True)
    scores = collect(numbers, replace(batch, reference=reference))
    if objective.needs_values:
        scores = replace(scores, values=numbers[_last_tokens(batch)])
    output = objective(scores, _ANY_TOTALS)
    in_nll, in_preference = (_moves(term, numbers) for term in (output.supervised, output.preference))
    return [
        (Terms.NLL if supervised else Terms.NONE) | (Terms.PREFERENCE if compared else Terms.NONE)
        for supervised, compared in zip(in_nll, in_preference, strict=True)
    ]


def _last_tokens(batch: MicroBatch) -> Tensor:
    """(2, B) which scored token ends the chosen and rejected responses; any one for a missing response."""
    places = torch.arange(len(batch.segments))
    last = torch.zeros(batch.counts.numel(), dtype=torch.int64).scatter_reduce(
        0, batch.segments, places, "amax"
    )
    return last.view_as(batch.counts)[:2]


def _moves(term: Tensor | None, numbers: Tensor) -> list[bool]:
    """Whether a term changes with each token's number."""
    if term is None or not term.requires_grad:
        return [False] * len(numbers)
    (slopes,) = torch.autograd.grad(term, numbers, retain_graph=True, allow_unused=True)
    return [False] * len(numbers) if slopes is None else (slopes != 0).tolist()
