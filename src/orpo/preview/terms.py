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
from orpo.objectives import ORPO


class Terms(Flag):
    """Terms of the loss."""

    NONE = 0
    NLL = auto()
    LOG_ODDS = auto()
    BOTH = NLL | LOG_ODDS


_ANY_TOTALS = Totals(pairs=1.0, answered=1.0, prompt_tokens=1.0, chosen_tokens=1.0)
"""Divisors change how much a token counts, not whether it does."""


def terms_of(objective: ORPO, batch: MicroBatch) -> list[Terms]:
    """The terms that each of the N scored tokens of `batch` is in; lambda may be 0."""
    nll = _slopes(replace(objective, lambda_=0.0), batch)
    all_terms = _slopes(replace(objective, lambda_=1.0), batch)
    in_nll, in_log_odds = nll != 0, all_terms != nll
    return [
        (Terms.NLL if supervised else Terms.NONE) | (Terms.LOG_ODDS if compared else Terms.NONE)
        for supervised, compared in zip(in_nll.tolist(), in_log_odds.tolist(), strict=True)
    ]


def _slopes(objective: ORPO, batch: MicroBatch) -> Tensor:
    """(N,) slope of the loss in each token's log-probability, where all are equal."""
    log_probs = torch.full(batch.targets.shape, -1.0, dtype=torch.float64, requires_grad=True)
    loss = objective(collect(log_probs, batch), _ANY_TOTALS).loss
    (slopes,) = torch.autograd.grad(loss, log_probs)
    return slopes
