"""ORPO: supervised loss plus an odds-ratio penalty (Hong, Lee, Thorne 2024, arXiv:2403.07691)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch.nn.functional as F
from torch import Tensor

from orpo.batch import Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.ops.stable import log_odds

Definition = Literal["paper", "trl"]


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

    Args:
        lambda_: weight of the odds-ratio term; 0 is supervised fine-tuning on the chosen responses.
        definition: which L_NLL.
    """

    lambda_: float = 0.1
    definition: Definition = "paper"

    @property
    def scores_prompt(self) -> bool:
        return self.definition == "trl"

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        a_w, a_l = scores.chosen_mean, scores.rejected_mean
        lo = log_odds_ratio(a_w, a_l)
        log_sigmoid = F.logsigmoid(lo)

        def per_pair(values: Tensor) -> Tensor:
            return (scores.weight * values).sum() / totals.pairs

        if self.definition == "paper":
            nll = per_pair(-a_w)
        else:
            tokens = totals.prompt_tokens + totals.chosen_tokens
            nll = -(scores.weight * (scores.prompt + scores.chosen)).sum() / tokens
        loss = nll - self.lambda_ * per_pair(log_sigmoid)

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
        metrics = {"loss": loss, "nll_loss": nll} | {name: per_pair(v) for name, v in means.items()}
        return ObjectiveOutput(loss, {name: value.detach() for name, value in metrics.items()})
