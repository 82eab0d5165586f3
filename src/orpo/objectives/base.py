"""What every objective is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from orpo.batch import PromptTokens, Rows, Scores, Totals


@dataclass(frozen=True)
class ObjectiveOutput:
    """A micro-batch's share of its global batch: shares of all micro-batches, on all ranks, add up."""

    loss: Tensor
    """Scalar with a gradient."""

    metrics: dict[str, Tensor]
    """Weighted sums by their name in `metrics.jsonl`, as `orpo.ops.means.weighted` makes them."""

    supervised: Tensor | None = None
    """The part of the loss that imitates responses, if it has one, before any coefficient."""

    preference: Tensor | None = None
    """The part that compares or judges responses, if it has one, before any coefficient."""


@dataclass(frozen=True)
class Objective(ABC):
    """A pure function of scores.  Subclasses are frozen dataclasses of their coefficients."""

    title: ClassVar[str]
    """Name and source, for the model card."""

    formula: ClassVar[str]
    """The loss in a line, for the model card."""

    rows: ClassVar[Rows]
    """What it learns from."""

    needs_reference: ClassVar[bool] = False
    """Whether `Scores.reference` has to be there."""

    needs_divergence: ClassVar[bool] = False
    """Whether `Totals.divergence` has to be estimated for every batch."""

    needs_values: ClassVar[bool] = False
    """Whether `Scores.values` has to be there: what is trained is a reward model, not a language model."""

    uses_margins: ClassVar[bool] = False
    """Whether `Scores.margin` changes the loss."""

    @property
    def prompt_tokens(self) -> PromptTokens:
        """Tokens of the prompt whose log-probabilities the loss needs too."""
        return PromptTokens.NONE

    @abstractmethod
    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        """The micro-batch's share of the loss.

        Args:
            scores: the micro-batch's scores, (B,) each.
            totals: the global batch's counts, which are the only divisors.
        """
