"""ORPO: supervised loss plus an odds-ratio penalty (Hong, Lee, Thorne 2024, arXiv:2403.07691)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from orpo.batch import PromptTokens, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.ops.means import weighted
from orpo.ops.stable import log_odds

Definition = Literal["paper", "trl"]
Turns = Literal["final", "all"]


def log_odds_ratio(chosen_mean: Tensor, rejected_mean: Tensor) -> Tensor:
    """LO = log odds(y_w|x) - log odds(y_l|x) (paper, Eq. 5, logarithm).

    Args:
        chosen_mean: (B,) length-averaged log-probabilities of the chosen responses, <= 0.
        rejected_mean: (B,) the same of the rejected ones.

    Returns:
        (B,), positive where the chosen response is the likelier one.
    """
    return log_odds(chosen_mean) - log_odds(rejected_mean)


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
    """

    lambda_: float = 0.1
    definition: Definition = "paper"
    nll_turns: Turns = "final"

    @property
    def prompt_tokens(self) -> PromptTokens:
        if self.definition == "trl":
            return PromptTokens.ALL
        return PromptTokens.ANSWERS if self.nll_turns == "all" else PromptTokens.NONE

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        a_w, a_l = scores.chosen_mean, scores.rejected_mean
        lo = log_odds_ratio(a_w, a_l)
        log_sigmoid = F.logsigmoid(lo)
        or_loss = -(scores.pair_weight * log_sigmoid).sum() / (totals.pairs or 1.0)  # a batch may have none

        log_prob, tokens = scores.prompt + scores.chosen, scores.prompt_count + scores.chosen_count
        if self.definition == "paper":
            nll_loss = -(scores.answered_weight * log_prob / tokens.clamp(min=1)).sum() / totals.answered
        else:
            nll_loss = -(scores.answered_weight * log_prob).sum() / (
                totals.prompt_tokens + totals.chosen_tokens
            )
        loss = nll_loss + self.lambda_ * or_loss

        # Shares of means over the batch, so each counts as its part of the batch does.
        shares = {"loss": loss, "nll_loss": nll_loss}
        metrics = {
            name: torch.stack([share.detach() * totals.answered, scores.answered_weight.sum()])
            for name, share in shares.items()
        }
        means = {
            "log_odds_ratio": log_sigmoid,
            "log_odds_chosen": lo,
            "rewards/chosen": self.lambda_ * a_w,
            "rewards/rejected": self.lambda_ * a_l,
            "rewards/margins": self.lambda_ * (a_w - a_l),
            "rewards/accuracies": (a_w > a_l).to(a_w.dtype),
            "logps/chosen": a_w,
            "logps/rejected": a_l,
            "logps_sum/chosen": scores.chosen,
            "logps_sum/rejected": scores.rejected,
        }
        metrics |= {name: weighted(values, scores.pair_weight) for name, values in means.items()}
        return ObjectiveOutput(loss, metrics)
