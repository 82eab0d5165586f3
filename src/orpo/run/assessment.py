"""How good a judge a reward model is, found out whenever it is saved."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from orpo.data.tokenized import TokenizedPairs
from orpo.evaluation.assessment import assess
from orpo.evaluation.scoring import score_responses, values
from orpo.modeling.scorer import PairScorer, evaluating
from orpo.ops.distributed import World
from orpo.training.budget import TokenBudget

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Assessor:
    """Judges a reward model by its judgement of held-out pairs.

    Args:
        scorer: of the reward model.
        pairs: that it is not trained on.
        pad_id: fills padded rows.
        world: this process among its peers.
        dtype: autocast type, or None.
    """

    scorer: PairScorer
    pairs: TokenizedPairs
    pad_id: int
    world: World
    dtype: torch.dtype | None

    def __call__(self, budget: TokenBudget, step: int) -> dict[str, Any]:
        """See `assess`; on every rank.

        Args:
            budget: tokens per forward pass.
            step: of the model, for messages.

        Raises:
            ResourceError: a single pair does not fit into memory.
        """

        def attempt(max_tokens: int, on_forward: Callable[[], None]) -> NDArray[np.float32]:
            return score_responses(
                self.scorer,
                self.pairs,
                values,
                pad_id=self.pad_id,
                max_tokens=max_tokens,
                world=self.world,
                dtype=self.dtype,
                on_forward=on_forward,
            )

        with evaluating(self.scorer.model):
            found = assess(budget.fit(attempt, lambda: None, step=step, during="evaluation"), self.pairs)
        accuracy, by_length = found["accuracy"], found["by_length"]
        log.info(
            "reward model: right on %.1f %% of %d held-out pairs (95 %% interval %.1f to %.1f), "
            "the rule `%s` on %.1f %%: %s",
            100 * accuracy["rate"],
            found["pairs"],
            100 * accuracy["low"],
            100 * accuracy["high"],
            by_length["rule"],
            100 * by_length["rate"],
            "fit to judge" if found["fit_to_judge"] else "not fit to judge",
        )
        return found
