"""How often the experts of a mixture are used in a global batch, before its gradient is taken."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor

from orpo.batch import MicroBatch, Totals
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast
from orpo.ops.routing import routed


@torch.no_grad()
def with_expert_load(
    totals: Totals,
    scorer: PairScorer,
    micro_batches: Iterable[MicroBatch],
    *,
    world: World,
    dtype: torch.dtype | None,
) -> Totals:
    """`totals` with the load of the experts, which a pass without gradient over all micro-batches tells.

    Args:
        totals: of the global batch.
        scorer: of a model that has a router loss.
        micro_batches: this rank's share of the batch.
        world: this process among its peers.
        dtype: autocast type, or None.

    Raises:
        MicroBatchMemoryError: a micro-batch did not fit.
    """
    router_loss = scorer.router_loss
    assert router_loss is not None

    def load_of(batch: MicroBatch) -> Tensor:
        _, logits = scorer.routed_states(batch)
        return routed(logits, batch.presence, router_loss.top_k).load

    loads: list[Tensor] = []
    for batch in micro_batches:
        with naming_what_did_not_fit(batch), scorer.attention(), autocast(world.device, dtype):
            loads.append(scorer(batch.to(world.device), load_of))
    return replace(totals, expert_load=world.sum(torch.stack(loads).sum(0)))
