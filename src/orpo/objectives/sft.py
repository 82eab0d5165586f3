"""Supervised fine-tuning on chosen responses."""

from __future__ import annotations

from dataclasses import dataclass

from orpo.batch import PromptTokens, Rows, Scores, Totals
from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.terms import (
    Definition,
    Turns,
    mean_nll,
    pair_metrics,
    pooled_nll,
    reward_metrics,
    share_metrics,
)


@dataclass(frozen=True)
class SFT(Objective):
    """L_SFT = L_NLL of the chosen responses' tokens (ORPO paper, Eq. 2).

    Args:
        definition: `paper`: mean over rows of -a(y_w|x); `trl`: mean over all tokens of the batch, as TRL's
            SFTTrainer has it for completions.
        nll_turns: `all`: the assistant's earlier turns are learnt too.
    """

    title = "supervised fine-tuning on chosen responses"
    formula = "L = L_NLL"
    rows = Rows.CHOSEN

    definition: Definition = "paper"
    nll_turns: Turns = "final"

    @property
    def prompt_tokens(self) -> PromptTokens:
        return PromptTokens.ANSWERS if self.nll_turns == "all" else PromptTokens.NONE

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        loss = (mean_nll if self.definition == "paper" else pooled_nll)(scores, totals)
        metrics = share_metrics({"loss": loss, "nll_loss": loss}, scores.answered_weight, totals.answered)
        metrics |= pair_metrics(scores)
        metrics |= reward_metrics(scores.chosen_mean, scores.rejected_mean, scores.pair_weight)
        return ObjectiveOutput(loss, metrics, supervised=loss)
