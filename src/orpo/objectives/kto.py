"""KTO: single responses that are desirable or not (Ethayarajh et al. 2024, arXiv:2402.01306)."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from orpo.batch import Rows, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.terms import log_ratios, pair_metrics, reward_metrics, share_metrics
from orpo.ops.means import weighted


@dataclass(frozen=True)
class KTO(Objective):
    """L = mean over responses of w_y (1 - v), a value function around z0 (paper, Eq. 7 and 8).

        desirable     v = sigmoid(beta (r - z0))     w = desirable_weight
        undesirable   v = sigmoid(beta (z0 - r))     w = undesirable_weight

    with r = log(pi(y|x) / pi_ref(y|x)), summed over tokens.  z0 estimates the policy's divergence from the
    reference: the mean of r over the batch's prompts, each with the response to the one before it, floored
    at 0 and without gradient.

    Args:
        beta: strength of the tie to the reference.
        desirable_weight: lambda_D.
        undesirable_weight: lambda_U.
    """

    title = "KTO, Kahneman-Tversky Optimization (arXiv:2402.01306)"
    formula = "L = w (1 - sigmoid(±beta (log(pi / pi_ref) - z0)))"
    rows = Rows.RESPONSES
    needs_reference = True
    needs_divergence = True

    beta: float = 0.1
    desirable_weight: float = 1.0
    undesirable_weight: float = 1.0

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        desirable, undesirable = log_ratios(scores)
        of_desirable = 1 - torch.sigmoid(self.beta * (desirable - totals.divergence))
        of_undesirable = 1 - torch.sigmoid(self.beta * (totals.divergence - undesirable))
        sums = (
            self.desirable_weight * scores.answered_weight * of_desirable
            + self.undesirable_weight * scores.rejected_weight * of_undesirable
        )
        loss = sums.sum() / totals.responses
        weight = scores.answered_weight + scores.rejected_weight
        metrics = share_metrics({"loss": loss}, weight, totals.responses)
        metrics["kl"] = weighted(totals.divergence + torch.zeros_like(weight), weight)
        metrics |= pair_metrics(scores)
        metrics |= reward_metrics(self.beta * desirable, self.beta * undesirable, scores.pair_weight)
        # Responses need not come in pairs: each side has a mean of its own.
        sides = {
            "chosen": (desirable, scores.chosen_mean, scores.answered_weight),
            "rejected": (undesirable, scores.rejected_mean, scores.rejected_weight),
        }
        for side, (ratio, log_prob, side_weight) in sides.items():
            metrics[f"rewards/{side}"] = weighted(self.beta * ratio, side_weight)
            metrics[f"logps/{side}"] = weighted(log_prob, side_weight)
        return ObjectiveOutput(loss, metrics, preference=loss)
