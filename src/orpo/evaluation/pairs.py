"""The objective's metrics on held-out pairs."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import replace

import torch

from orpo.batch import MicroBatch
from orpo.data.collate import batch_totals, micro_batches
from orpo.data.mismatched import Mismatch, Scorable
from orpo.data.tokenized import TokenizedPairs
from orpo.errors import NumericsError
from orpo.modeling.divergence import divergence
from orpo.modeling.scorer import PairScorer
from orpo.objectives import Objective
from orpo.ops.distributed import World
from orpo.ops.means import WeightedMeans
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast


@torch.no_grad()
def evaluate_pairs(
    scorer: PairScorer,
    objective: Objective,
    pairs: TokenizedPairs,
    *,
    pad_id: int,
    max_tokens: int,
    world: World,
    dtype: torch.dtype | None,
    mismatch: Mismatch | None = None,
    on_forward: Callable[[], None] = lambda: None,
) -> dict[str, float]:
    """Metrics of all `pairs` as one batch: like the loss, they do not depend on how it is split.

    Args:
        scorer: the model in evaluation mode; not DDP's wrapper, since ranks may leave early.
        objective: whose loss and metrics are taken.
        pairs: held-out pairs, the same on every rank.
        pad_id: fills padded rows.
        max_tokens: tokens, padding included, per forward pass and device.
        world: the pairs are shared out over its processes.
        dtype: autocast type, or None.
        mismatch: the pairs' prompts with other prompts' responses, if the objective needs a divergence.
        on_forward: called after each forward pass.

    Returns:
        Every metric by name, the same on every rank.

    Raises:
        NumericsError: the loss is not finite.
        MicroBatchMemoryError: a micro-batch did not fit.
    """

    def split(pairs: Scorable) -> Iterator[MicroBatch]:
        parts = micro_batches(
            pairs,
            pairs.lengths,
            scorer.layout,
            pad_id=pad_id,
            prompt_tokens=objective.prompt_tokens,
            max_tokens=max_tokens,
            world=world,
        )
        return (batch for _, batch in parts)

    totals = batch_totals(pairs, objective.prompt_tokens)
    if mismatch is not None:
        estimate = divergence(
            scorer,
            split(mismatch.pairs),
            count=len(mismatch.pairs),
            reference=mismatch.reference,
            world=world,
            dtype=dtype,
        )
        totals = replace(totals, divergence=estimate)
    means = WeightedMeans()
    for batch in split(pairs):
        with naming_what_did_not_fit(batch), scorer.attention(), autocast(world.device, dtype):
            scores = scorer(batch.to(world.device))
        means.add(objective(scores, totals).metrics)
        on_forward()
    metrics = means.take(world)
    if not math.isfinite(metrics["loss"]):
        raise NumericsError(
            f"the loss of the held-out pairs is not finite ({metrics['loss']})",
            hint="Try training.precision=float32. If that does not help, the weights are damaged.",
        )
    return metrics
