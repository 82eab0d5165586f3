"""Log-probabilities of responses under a model as it is."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orpo.batch import PromptTokens
from orpo.data.collate import micro_batches
from orpo.data.mismatched import Scorable
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast


@torch.no_grad()
def response_log_probs(
    scorer: PairScorer,
    pairs: Scorable,
    *,
    pad_id: int,
    max_tokens: int,
    world: World,
    dtype: torch.dtype | None,
    on_forward: Callable[[], None] = lambda: None,
) -> NDArray[np.float32]:
    """(N, 2) sums of the log-probabilities of chosen and rejected responses; 0 of a missing one.

    Args:
        scorer: the model in evaluation mode.
        pairs: N of them, the same on every rank.
        pad_id: fills padded rows.
        max_tokens: tokens, padding included, per forward pass and device.
        world: the pairs are shared out over its processes.
        dtype: autocast type, or None.
        on_forward: called after each forward pass.

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
        found: Tensor = torch.stack([scores.chosen, scores.rejected], dim=1)
        result[list(plan.indices)] += plan.weight * found.float()  # nothing of a stand-in
        on_forward()
    return world.sum(result).cpu().numpy()
