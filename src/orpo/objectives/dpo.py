"""DPO: the policy's log-ratio to a frozen reference as reward (Rafailov et al. 2023, arXiv:2305.18290)."""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F

from orpo.batch import Rows, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.terms import log_ratios, pairwise


@dataclass(frozen=True)
class DPO(Objective):
    """L = -(1 - epsilon) log sigmoid(r_w - r_l) - epsilon log sigmoid(r_l - r_w) (paper, Eq. 7).

    The reward is r = beta * log(pi(y|x) / pi_ref(y|x)), summed over tokens.

    Args:
        beta: strength of the tie to the reference.
        label_smoothing: epsilon, the share of labels that are taken to be wrong (Mitchell 2023, conservative
            DPO); 0 is the paper's loss.
    """

    title = "DPO, Direct Preference Optimization (arXiv:2305.18290)"
    formula = "L = -log sigmoid(r_w - r_l), with r = beta * log(pi / pi_ref)"
    rows = Rows.PAIRS
    needs_reference = True

    beta: float = 0.1
    label_smoothing: float = 0.0

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        chosen, rejected = (self.beta * ratio for ratio in log_ratios(scores))
        margins = chosen - rejected
        right, wrong = -F.logsigmoid(margins), -F.logsigmoid(-margins)
        losses = (1 - self.label_smoothing) * right + self.label_smoothing * wrong
        return pairwise(losses, chosen, rejected, scores, totals)
