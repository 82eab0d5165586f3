"""Log-probabilities of responses under a model as it is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from orpo.batch import PromptTokens
from orpo.data.batching import Lengths, split_batch
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast


@torch.no_grad()
def response_log_probs(
    scorer: PairScorer,
    pairs: TokenizedPairs | Sequence[TokenizedPair],
    lengths: Lengths,
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
        lengths: (N, 3) tokens of their segments.
        pad_id: fills padded rows.
        max_tokens: tokens, padding included, per forward pass and device.
        world: the pairs are shared out over its processes.
        dtype: autocast type, or None.
        on_forward: called after each forward pass.

    Raises:
        MicroBatchMemoryError: a micro-batch did not fit.
    """
    plans = split_batch(lengths, layout=scorer.layout, world_size=world.size, max_tokens=max_tokens)
    result = torch.zeros((len(lengths), 2), dtype=torch.float32, device=world.device)
    for plan in plans[world.rank]:
        if not plan.weight:
            continue
        batch = collate(
            [pairs[i] for i in plan.indices], scorer.layout, pad_id=pad_id, prompt_tokens=PromptTokens.NONE
        )
        with naming_what_did_not_fit(batch), scorer.attention(), autocast(world.device, dtype):
            scores = scorer(batch.to(world.device))
        found: Tensor = torch.stack([scores.chosen, scores.rejected], dim=1)
        result[list(plan.indices)] = found.float()
        on_forward()
    return world.sum(result).cpu().numpy()
