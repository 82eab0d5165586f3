"""A reward model's loss: Bradley-Terry on pairs (Ouyang et al. 2022, arXiv:2203.02155)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from orpo.batch import Rows, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.terms import reward_metrics, share_metrics
from orpo.ops.means import weighted


@dataclass(frozen=True)
class RewardModel(Objective):
    """L = -log sigmoid(r_w - r_l - m) + c (r_w + r_l)^2, a mean over pairs.

    The first term is InstructGPT's Eq. 1 with one pair per prompt, and the loss of the ORPO paper's reward
    models (its Appendix C); m is Llama 2's margin (arXiv:2307.09288, Eq. 2), that of the pair and one that is
    the same for all pairs; the second term draws rewards, which the first one leaves free to shift, to 0
    (Eisenstein et al. 2023, arXiv:2312.09244, Eq. 2).

    Args:
        margin: the part of m that is the same for all pairs.
        center_rewards_coefficient: c.
    """

    title = "Bradley-Terry reward model (arXiv:2203.02155)"
    formula = (
        "L = -log sigmoid(r_w - r_l - margin - the pair's margin) "
        "+ center_rewards_coefficient * (r_w + r_l)^2"
    )
    rows = Rows.PAIRS
    needs_values = True
    uses_margins = True

    margin: float = 0.0
    center_rewards_coefficient: float = 0.0

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        assert scores.values is not None, "the run has a reward model for objectives that need values"
        chosen, rejected = scores.values
        difference = chosen - rejected
        losses = -F.logsigmoid(difference - self.margin - scores.margin)
        if self.center_rewards_coefficient:
            losses = losses + self.center_rewards_coefficient * (chosen + rejected) ** 2
        loss = (scores.pair_weight * losses).sum() / totals.pairs
        metrics = share_metrics({"loss": loss}, scores.pair_weight, totals.pairs)
        metrics |= reward_metrics(chosen, rejected, scores.pair_weight)
        # What the model takes the probability of the label to be, and by how much that is wrong.
        metrics["brier"] = weighted(torch.sigmoid(-difference) ** 2, scores.pair_weight)
        return ObjectiveOutput(loss, metrics, preference=loss)
