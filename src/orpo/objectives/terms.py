"""What several objectives are made of: the supervised term, and the metrics that all of them have."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from orpo.batch import Scores, Totals
from orpo.objectives.base import ObjectiveOutput
from orpo.ops.means import weighted
from orpo.ops.stable import complement, log_odds, odds_epsilon

Definition = Literal["paper", "trl"]
"""How the supervised term is averaged: per response and then over responses, or over all tokens."""

Turns = Literal["final", "all"]
"""The assistant's turns that the supervised term covers."""


def mean_nll(scores: Scores, totals: Totals) -> Tensor:
    """The micro-batch's share of the mean over chosen responses of -a(y_w|x) (ORPO paper, Eq. 2 by pairs).

    Scored tokens of the prompt are part of the response.
    """
    log_probs, tokens = scores.prompt + scores.chosen, scores.prompt_count + scores.chosen_count
    return -(scores.answered_weight * log_probs / tokens.clamp(min=1)).sum() / totals.answered


def pooled_nll(scores: Scores, totals: Totals) -> Tensor:
    """The micro-batch's share of the mean over scored tokens of prompts and chosen responses of -log p."""
    log_probs = scores.prompt + scores.chosen
    return -(scores.answered_weight * log_probs).sum() / (totals.prompt_tokens + totals.chosen_tokens)


def log_odds_ratio(chosen_mean: Tensor, rejected_mean: Tensor) -> Tensor:
    """LO = log odds(y_w|x) - log odds(y_l|x) (ORPO paper, Eq. 5, logarithm).

    Args:
        chosen_mean: (B,) length-averaged log-probabilities of the chosen responses, <= 0.
        rejected_mean: (B,) the same of the rejected ones.

    Returns:
        (B,), positive where the chosen response is the likelier one.
    """
    return log_odds(chosen_mean) - log_odds(rejected_mean)


def log_ratios(scores: Scores) -> tuple[Tensor, Tensor]:
    """(B,) each, log(pi(y|x) / pi_ref(y|x)) of chosen and rejected responses, summed over tokens."""
    assert scores.reference is not None, "the run scores the reference for objectives that need it"
    chosen, rejected = scores.reference
    return scores.chosen - chosen, scores.rejected - rejected


def pairwise(
    losses: Tensor, chosen: Tensor, rejected: Tensor, scores: Scores, totals: Totals
) -> ObjectiveOutput:
    """The share of a loss that is a mean over pairs.

    Args:
        losses: (B,) of each pair.
        chosen: (B,) rewards of the chosen responses.
        rejected: (B,) rewards of the rejected ones.
        scores: the micro-batch's scores.
        totals: the global batch's counts.
    """
    loss = (scores.pair_weight * losses).sum() / totals.pairs
    metrics = share_metrics({"loss": loss}, scores.pair_weight, totals.pairs)
    metrics |= pair_metrics(scores) | reward_metrics(chosen, rejected, scores.pair_weight)
    return ObjectiveOutput(loss, metrics, preference=loss)


def share_metrics(shares: dict[str, Tensor], weight: Tensor, total: float) -> dict[str, Tensor]:
    """Weighted sums of shares of means over the batch: each counts as its part of the batch does.

    Args:
        shares: scalars that add up over the micro-batches of a batch.
        weight: (B,) of what they are means over.
        total: the sum of `weight` over the whole batch.
    """
    return {name: torch.stack([share.detach() * total, weight.sum()]) for name, share in shares.items()}


def pair_metrics(scores: Scores) -> dict[str, Tensor]:
    """What is told of pairs whatever the objective: log-probabilities, and how far apart they are."""
    a_w, a_l = scores.chosen_mean.detach(), scores.rejected_mean.detach()
    lo = log_odds_ratio(a_w, a_l)
    likeliest = complement(torch.maximum(a_w, a_l))
    values = {
        "log_odds_ratio": F.logsigmoid(lo),
        "log_odds_chosen": lo,
        "odds_saturated": (likeliest <= odds_epsilon(likeliest.dtype)).to(a_w.dtype),
        "logps/chosen": a_w,
        "logps/rejected": a_l,
        "logps/accuracies": (a_w > a_l).to(a_w.dtype),
        "logps_sum/chosen": scores.chosen,
        "logps_sum/rejected": scores.rejected,
    }
    return {name: weighted(value, scores.pair_weight) for name, value in values.items()}


def reward_metrics(chosen: Tensor, rejected: Tensor, weight: Tensor) -> dict[str, Tensor]:
    """What is told of the rewards that an objective implies.

    Args:
        chosen: (B,) rewards of the chosen responses.
        rejected: (B,) rewards of the rejected ones.
        weight: (B,) of the pairs.
    """
    values = {
        "rewards/chosen": chosen,
        "rewards/rejected": rejected,
        "rewards/margins": chosen - rejected,
        "rewards/accuracies": (chosen > rejected).to(chosen.dtype),
    }
    return {name: weighted(value, weight) for name, value in values.items()}
