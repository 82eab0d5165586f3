"""A step whose numbers are not finite changes nothing, and the host hears of it without waiting.

Whether a step's metrics and the norm of its gradient are finite is decided on the device, over all ranks, and
the optimizer leaves parameters and state as they are where they are not: AdamW's kernel by itself, any other
because the host waits for the verdict (`orpo.training.optimizers.combined`).  The verdict travels to the host
while the device works on, and is read when the next step's work is queued.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from orpo.ops.distributed import World
from orpo.training.batches import GlobalBatch

LOWEST_SCALE = 1.0
"""A loss scale at which a gradient that overflows does so by itself."""


@dataclass(frozen=True)
class Judged:
    """A step whose verdict is on its way."""

    step: int

    batch: GlobalBatch

    sums: Mapping[str, Tensor]
    """This rank's weighted sums of the metrics, the norm of the gradient among them, on the device."""


@dataclass(frozen=True)
class Fault:
    """A step that was left out."""

    judged: Judged

    is_overflow: bool
    """Whether only the scaled gradient of float16 products was too large, which is how its scale is found."""


class FiniteGuard:
    """Judges every step; at most one verdict is on its way.

    Args:
        world: this process among its peers, which all come to the same verdict.
        scaler: of the loss; disabled unless products are float16.
    """

    def __init__(self, world: World, scaler: torch.amp.GradScaler) -> None:
        self._world = world
        self._scaler = scaler
        self._mail = _Mail(3, world.device)
        self._judged: Judged | None = None

    def judge(
        self, step: int, batch: GlobalBatch, sums: Mapping[str, Tensor], grad_norm: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Decide whether a step may change anything.

        Args:
            step: its number.
            batch: its pairs.
            sums: this rank's weighted sums of its metrics, on the device.
            grad_norm: of the gradient of the whole batch, without the loss scale; the same on every rank.

        Returns:
            () float32 on the device, 1 where the update has to be left out, else 0: an optimizer's
            `found_inf`.  And the sums to keep, with `grad_norm` among them: 0 of a step that is left out.
        """
        assert self._judged is None, "the verdict on the step before has been read"
        weight = grad_norm.new_full((), float(len(batch.pairs)))
        sums = {**sums, "grad_norm": torch.stack([weight * grad_norm, weight])}
        stacked = torch.stack(list(sums.values()))
        # A sum of many numbers is not finite if one of them is not.
        wrong = torch.stack([stacked[:-1].sum(), grad_norm]).isfinite().logical_not().float()
        self._world.sum(wrong)
        left_out = wrong.sum() > 0
        scale = self._scaler.scale(torch.ones((), device=wrong.device))
        self._mail.send(torch.cat([wrong, scale.reshape(1)]))
        self._judged = Judged(step, batch, sums)
        kept = torch.where(left_out, 0.0, stacked)
        return left_out.float(), dict(zip(sums, kept.unbind(), strict=True))

    def verdict(self) -> Fault | None:
        """What was wrong with the last step that was judged, if anything; it is told once.

        The host waits until the device has done that step, and for nothing that was queued after it.
        """
        if self._judged is None:
            return None
        judged, self._judged = self._judged, None
        wrong_metrics, wrong_gradient, scale = self._mail.read()
        if not wrong_metrics and not wrong_gradient:
            return None
        is_overflow = self._scaler.is_enabled() and not wrong_metrics and scale > LOWEST_SCALE
        return Fault(judged, is_overflow)


class _Mail:
    """A few numbers on their way from the device to the host, which neither sending nor reading drains."""

    def __init__(self, size: int, device: torch.device) -> None:
        self._arrived = torch.cuda.Event() if device.type == "cuda" else None
        self._host = torch.zeros(size, pin_memory=self._arrived is not None)
        self._numbers = self._host.numpy()

    def send(self, values: Tensor) -> None:
        """Begin to copy `values`; what was sent before has been read."""
        self._host.copy_(values, non_blocking=self._arrived is not None)
        if self._arrived is not None:
            self._arrived.record()

    def read(self) -> list[float]:
        """What was sent last."""
        if self._arrived is not None:
            self._arrived.synchronize()
        return self._numbers.tolist()
