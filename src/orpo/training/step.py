"""One optimizer step's gradient: micro-batches, one global normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from orpo.batch import MicroBatch, Totals
from orpo.data.mismatched import Mismatch
from orpo.modeling.divergence import divergence
from orpo.modeling.expert_load import with_expert_load
from orpo.ops.distributed import World
from orpo.ops.means import add_sums
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast
from orpo.training.loss import PairLoss
from orpo.training.sharding import exchange_gradients, is_sharded


@dataclass(frozen=True)
class GradientStep:
    """Accumulates the gradient of a global batch.

    Because the objective divides by the global batch's counts, the micro-batches' losses simply add up: the
    gradient does not depend on how the batch is split over micro-batches and ranks.
    """

    loss: PairLoss | DistributedDataParallel
    world: World
    autocast_dtype: torch.dtype | None
    scaler: torch.amp.GradScaler

    exchanges_once: bool = True
    """Whether ranks exchange gradients in the last backward pass of a step only, or in each; until then, a
    rank has all of its gradients, those of sharded weights too."""

    @property
    def plain(self) -> PairLoss:
        """The loss without DDP's wrapper."""
        return self.loss.module if isinstance(self.loss, DistributedDataParallel) else self.loss

    def divergence(self, micro_batches: Sequence[MicroBatch], mismatch: Mismatch) -> Tensor:
        """See `orpo.modeling.divergence`."""
        return divergence(
            self.plain.scorer,
            micro_batches,
            count=len(mismatch.pairs),
            reference=mismatch.reference,
            world=self.world,
            dtype=self.autocast_dtype,
        )

    def __call__(
        self, micro_batches: Sequence[MicroBatch], totals: Totals, on_substep_end: Callable[[], None]
    ) -> dict[str, Tensor]:
        """Backpropagate all micro-batches of this rank.

        Args:
            micro_batches: at least one, as many on every rank.
            totals: counts of the global batch, over all ranks.
            on_substep_end: called between micro-batches.

        Returns:
            This rank's weighted sums of the metrics, on the device.

        Raises:
            MicroBatchMemoryError: a micro-batch did not fit; the gradients are those of the ones before it.
        """
        sums: dict[str, Tensor] = {}
        plain = self.plain
        if plain.scorer.router_loss is not None and len(micro_batches) > 1:
            totals = with_expert_load(
                totals, plain.scorer, micro_batches, world=self.world, dtype=self.autocast_dtype
            )
        # DDP averages gradients over ranks, whose losses are shares of a sum; sharded weights have their sum.
        averaged = 1 if is_sharded(plain.scorer) else self.world.size
        factor = self.scaler.scale(torch.full((), float(averaged), device=self.world.device))
        for i, batch in enumerate(micro_batches):
            is_last = i == len(micro_batches) - 1
            exchange = self._exchanging(is_last or not self.exchanges_once)
            with naming_what_did_not_fit(batch), exchange, plain.scorer.attention():
                with autocast(self.world.device, self.autocast_dtype):
                    output = self.loss(batch.to(self.world.device), totals, factor, self.world)
                output.loss.backward()
            add_sums(sums, output.metrics)
            if not is_last:
                on_substep_end()
        return sums

    def _exchanging(self, now: bool) -> AbstractContextManager[object]:
        """Around the passes of a micro-batch: whether the backward pass exchanges gradients."""
        if isinstance(self.loss, DistributedDataParallel):
            return nullcontext() if now else self.loss.no_sync()
        if is_sharded(self.plain.scorer):
            exchange_gradients(self.plain.scorer, now=now)
        return nullcontext()
