"""One optimizer step's gradient: micro-batches, one global normalisation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from orpo.batch import MicroBatch, Totals
from orpo.data.mismatched import Mismatch
from orpo.modeling.divergence import divergence
from orpo.ops.distributed import World
from orpo.ops.means import add_sums
from orpo.ops.memory import naming_what_did_not_fit
from orpo.ops.precision import autocast
from orpo.training.loss import PairLoss


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
        # DDP averages gradients over ranks, whose losses are shares of a sum.
        factor = self.scaler.scale(torch.full((), float(self.world.size), device=self.world.device))
        for i, batch in enumerate(micro_batches):
            is_last = i == len(micro_batches) - 1
            # Ranks exchange gradients once, in the backward pass of the last micro-batch.
            hold = (
                self.loss.no_sync()
                if isinstance(self.loss, DistributedDataParallel) and not is_last
                else nullcontext()
            )
            with naming_what_did_not_fit(batch), hold, plain.scorer.attention():
                with autocast(self.world.device, self.autocast_dtype):
                    output = self.loss(batch.to(self.world.device), totals, factor)
                output.loss.backward()
            add_sums(sums, output.metrics)
            if not is_last:
                on_substep_end()
        return sums
