"""What every objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from orpo.batch import PromptTokens, Scores, Totals


@dataclass(frozen=True)
class ObjectiveOutput:
    """A micro-batch's share of its global batch: shares of all micro-batches, on all ranks, add up."""

    loss: Tensor
    """Scalar with a gradient."""

    metrics: dict[str, Tensor]
    """Weighted sums by their name in `metrics.jsonl`, as `orpo.ops.means.weighted` makes them."""


class Objective(ABC):
    """A pure function of scores.  Subclasses are frozen dataclasses of their coefficients."""

    @property
    @abstractmethod
    def prompt_tokens(self) -> PromptTokens:
        """Tokens of the prompt whose log-probabilities the loss needs too."""

    @abstractmethod
    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        """The micro-batch's share of the loss.

        Args:
            scores: the micro-batch's scores, (B,) each.
            totals: the global batch's counts, which are the only divisors.
        """
