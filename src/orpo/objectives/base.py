"""What every objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from torch import Tensor

from orpo.batch import Scores, Totals


@dataclass(frozen=True)
class ObjectiveOutput:
    """A micro-batch's share of its global batch: shares of all micro-batches, on all ranks, add up."""

    loss: Tensor
    """Scalar with a gradient."""

    metrics: dict[str, Tensor]
    """Detached scalars by their name in `metrics.jsonl`."""


class Objective(ABC):
    """A pure function of scores.  Subclasses are frozen dataclasses of their coefficients."""

    @property
    @abstractmethod
    def scores_prompt(self) -> bool:
        """Whether the loss needs the log-probabilities of the prompt's tokens too."""

    @abstractmethod
    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        """The micro-batch's share of the loss.

        Args:
            scores: the micro-batch's scores, (B,) each.
            totals: the global batch's counts, which are the only divisors.
        """
