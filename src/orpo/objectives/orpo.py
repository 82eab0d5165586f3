"""ORPO: supervised loss plus an odds-ratio penalty (Hong, Lee, Thorne 2024, arXiv:2403.07691)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from orpo.batch import PromptTokens, Rows, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.terms import (
    Definition,
    Turns,
    log_odds_ratio,
    mean_nll,
    pair_metrics,
    pooled_nll,
    reward_metrics,
    share_metrics,
)
from orpo.ops.means import weighted
from orpo.ops.stable import complement

Contrast = Literal["odds", "probability"]


@dataclass(frozen=True)
class ORPO(Objective):
    """L_ORPO = L_NLL + lambda * L_OR, with L_OR = -log sigmoid(LO) (paper, Eq. 6 and 7).

    Both definitions average L_OR over pairs.  They differ in L_NLL:

        paper   mean over pairs of -a(y_w|x): response tokens, per pair, then over pairs
        trl     prompt and chosen tokens, pooled over all tokens of the batch (TRL 1.16)

    A chosen response without a rejected one counts in L_NLL alone.

    Args:
        lambda_: weight of the odds-ratio term; 0 is supervised fine-tuning on the chosen responses.
        definition: which L_NLL.
        nll_turns: `all`: the tokens of the assistant's earlier turns are response tokens of L_NLL too.  The
            log odds are those of the final turn in any case.
        contrast: `probability` has log P(y_w|x) - log P(y_l|x) in the place of LO, the ablation of the
            paper's Section 7.1 and Appendix B.
    """

    title = "ORPO, Odds Ratio Preference Optimization (arXiv:2403.07691)"
    formula = "L = L_NLL + lambda * L_OR, with L_OR = -log sigmoid of the log odds ratio"
    rows = Rows.ANSWERED

    lambda_: float = 0.1
    definition: Definition = "paper"
    nll_turns: Turns = "final"
    contrast: Contrast = "odds"

    @property
    def prompt_tokens(self) -> PromptTokens:
        if self.definition == "trl":
            return PromptTokens.ALL
        return PromptTokens.ANSWERS if self.nll_turns == "all" else PromptTokens.NONE

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        a_w, a_l = scores.chosen_mean, scores.rejected_mean
        ratio = log_odds_ratio(a_w, a_l) if self.contrast == "odds" else a_w - a_l
        penalty = -F.logsigmoid(ratio)
        penalty_mean = (scores.pair_weight * penalty).sum() / (totals.pairs or 1.0)  # a batch may have none
        nll_loss = (mean_nll if self.definition == "paper" else pooled_nll)(scores, totals)
        loss = nll_loss + self.lambda_ * penalty_mean

        shares = {"loss": loss, "nll_loss": nll_loss}
        metrics = share_metrics(shares, scores.answered_weight, totals.answered)
        metrics |= pair_metrics(scores)
        metrics |= reward_metrics(self.lambda_ * a_w, self.lambda_ * a_l, scores.pair_weight)
        metrics["rewards/accuracies"] = metrics["logps/accuracies"]  # at lambda = 0 too
        share = self._preference_share(a_w.detach(), a_l.detach(), ratio.detach())
        metrics["preference_share"] = weighted(share, scores.pair_weight)
        return ObjectiveOutput(loss, metrics, supervised=nll_loss, preference=penalty_mean)

    def _preference_share(self, a_w: Tensor, a_l: Tensor, ratio: Tensor) -> Tensor:
        """(B,) an estimate of lambda * L_OR's share of a pair's gradient.

        Both terms reach the parameters through a_w and a_l only.  A pair's slopes there are, in absolute
        value, 1 of L_NLL, and lambda * sigmoid(-LO) / (1 - P) on either side of L_OR (without the divisor
        for `probability`).  Their shares are those of the gradients' norms as far as a step changes a_w and
        a_l alike; it costs no backward pass.
        """
        slope = self.lambda_ * torch.sigmoid(-ratio)
        pull = slope / complement(a_w) + slope / complement(a_l) if self.contrast == "odds" else 2 * slope
        return pull / (1 + pull)
