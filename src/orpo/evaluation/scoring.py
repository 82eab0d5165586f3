"""A number for each response of many pairs: its log-probability, or a reward model's value."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orpo.batch import PromptTokens, Scores
from orpo.data.collate import micro_batches
from orpo.data.mismatched import Scorable
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast


def log_probs(scores: Scores) -> Tensor:
    """(2, B) sums of the log-probabilities of chosen and rejected responses, 0 of missing ones."""
    return torch.stack([scores.chosen, scores.rejected])


def values(scores: Scores) -> Tensor:
    """(2, B) values of chosen and rejected responses by a reward model."""
    assert scores.values is not None
    return scores.values


@torch.no_grad()
def score_responses(
    scorer: PairScorer,
    pairs: Scorable,
    number: Callable[[Scores], Tensor],
    *,
    pad_id: int,
    max_tokens: int,
    world: World,
    dtype: torch.dtype | None,
    on_forward: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """A number for each response of `pairs`.

    Args:
        scorer: the model in evaluation mode.
        pairs: N of them, the same on every rank.
        number: `log_probs` or `values`.
        pad_id: fills padded rows.
        max_tokens: tokens, padding included, per forward pass and device.
        world: the pairs are shared out over its processes.
        dtype: autocast type, or None.
        on_forward: called after each forward pass.

    Returns:
        (N, 2) chosen and rejected, the same on every rank.

    Raises:
        MicroBatchMemoryError: a micro-batch did not fit.
    """
    result = torch.zeros((len(pairs), 2), dtype=torch.float32, device=world.device)
    for plan, batch in micro_batches(
        pairs,
        pairs.lengths,
        scorer.layout,
        pad_id=pad_id,
        prompt_tokens=PromptTokens.NONE,
        max_tokens=max_tokens,
        world=world,
    ):
        with naming_what_did_not_fit(batch), scorer.attention(), autocast(world.device, dtype):
            scores = scorer(batch.to(world.device))
        result[list(plan.indices)] += plan.weight * number(scores).T.float()  # nothing of a stand-in
        on_forward()
    return world.sum(result).cpu().numpy()
