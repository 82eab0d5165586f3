"""SimPO: a length-normalised, reference-free reward with a target margin (Meng, Xia, Chen 2024,
arXiv:2405.14734)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from orpo.batch import Rows, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.terms import pairwise


@dataclass(frozen=True)
class SimPO(Objective):
    """L = -log sigmoid(r_w - r_l - gamma), with the reward r = beta * a(y|x) (paper, Eq. 4 and 6).

    Pure: there is no supervised term (TRL's CPO trainer adds one unless `cpo_alpha` is 0).

    Args:
        beta: scale of the reward.
        gamma_beta_ratio: gamma = beta * gamma_beta_ratio is the margin by which rewards should differ.
    """

    title = "SimPO, Simple Preference Optimization (arXiv:2405.14734)"
    formula = "L = -log sigmoid(r_w - r_l - gamma), with r = beta * log-probability per token"
    rows = Rows.PAIRS

    beta: float = 2.0
    gamma_beta_ratio: float = 0.5

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        chosen, rejected = self.beta * scores.chosen_mean, self.beta * scores.rejected_mean
        losses = -F.logsigmoid(chosen - rejected - self.beta * self.gamma_beta_ratio)
        return pairwise(losses, chosen, rejected, scores, totals)
