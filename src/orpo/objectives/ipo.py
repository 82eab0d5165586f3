"""IPO: DPO's margin drawn to a fixed value instead of to infinity (Azar et al. 2023, arXiv:2310.12036)."""

from __future__ import annotations

from dataclasses import dataclass

from orpo.batch import Rows, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.terms import log_ratios, pairwise


@dataclass(frozen=True)
class IPO(Objective):
    """L = (h_w - h_l - 1 / (2 beta))^2, with h = log(pi(y|x) / pi_ref(y|x)) / |y| (paper, Eq. 17).

    The paper's tau is beta here.  Its log-ratios are sums; averages over the response's tokens, as TRL has
    them, keep the target reachable at any length.  The reward is beta * h.

    Args:
        beta: the margin is drawn to 1 / (2 beta).
    """

    title = "IPO, Identity Preference Optimization (arXiv:2310.12036)"
    formula = "L = (h_w - h_l - 1 / (2 beta))^2, with h = log(pi / pi_ref) per token"
    rows = Rows.PAIRS
    needs_reference = True

    beta: float = 0.1

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        chosen, rejected = log_ratios(scores)
        h_w, h_l = chosen / scores.chosen_count.clamp(min=1), rejected / scores.rejected_count.clamp(min=1)
        losses = (h_w - h_l - 1 / (2 * self.beta)).square()
        return pairwise(losses, self.beta * h_w, self.beta * h_l, scores, totals)
