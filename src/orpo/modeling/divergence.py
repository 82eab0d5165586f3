"""How far a policy has moved from its reference, estimated from prompts with other prompts' responses."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from orpo.batch import MicroBatch
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast


@torch.no_grad()
def divergence(
    scorer: PairScorer,
    micro_batches: Iterable[MicroBatch],
    *,
    count: int,
    reference: float,
    world: World,
    dtype: torch.dtype | None,
) -> Tensor:
    """KTO's z0: how much likelier such responses are than under the reference, at least 0.

    Args:
        scorer: the policy; not DDP's wrapper of it.
        micro_batches: this rank's share of the mismatched pairs.
        count: mismatched pairs, over all ranks.
        reference: sum of the log-probabilities of their responses under the reference.
        world: the pairs are shared out over its processes.
        dtype: autocast type, or None.

    Returns:
        Scalar on the device: the mean difference over all mismatched pairs.  The host does not wait for it.

    Raises:
        MicroBatchMemoryError: a micro-batch did not fit.
    """
    total = torch.zeros((), device=world.device)
    for batch in micro_batches:
        with naming_what_did_not_fit(batch), scorer.attention(), autocast(world.device, dtype):
            scores = scorer(batch.to(world.device))
        total += (scores.weight * scores.chosen).sum()
    return ((world.sum(total) - reference) / count).clamp(min=0)
