"""bfloat16 weights that are updated as float32.

At ORPO's learning rates an update is smaller than half the distance to the next bfloat16 number, and plain
bfloat16 weights stay where they are.  The upper half of a float32 number is a bfloat16 number; its lower half
is kept beside the weight, so that no bit of an update is lost, for the two bytes that Kahan summation would
take.  This is Split-SGD-BF16 (Kalamkar et al. 2020, arXiv:2005.04680), rounded to the nearest, around any
optimizer.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from orpo.ops.sharded import local

LOW = "low"
"""State of a weight: (...) int16, its float32 bits less those of the bfloat16 number."""

EXTRA_BYTES = 2
"""Of each weight, beside the optimizer's own state."""

WORKING_BYTES = 12
"""Of each weight of the tensor that is being updated: value and gradient in float32, and what splits it."""


class SplitWeights(Optimizer):
    """Gives an optimizer of float32 parameters one bfloat16 parameter at a time, as float32.

    Args:
        groups: parameter groups of bfloat16 parameters; of sharded ones, each process updates its rows.
        make: the optimizer of groups of float32 parameters.
    """

    def __init__(
        self, groups: list[dict[str, Any]], make: Callable[[list[dict[str, Any]]], Optimizer]
    ) -> None:
        stand_ins = [nn.Parameter(torch.empty([0] * group["params"][0].ndim)) for group in groups]
        self._inner = [
            make([{**group, "params": [one]}]) for group, one in zip(groups, stand_ins, strict=True)
        ]
        self._stand_ins = stand_ins
        settings = [{**inner.param_groups[0]} for inner in self._inner]
        super().__init__(
            [{**known, "params": group["params"]} for known, group in zip(settings, groups, strict=True)], {}
        )

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]  there is no loss to give back
        """Update all parameters that have a gradient."""
        assert closure is None, "the loss is not computed again"
        for group, inner, stand_in in zip(self.param_groups, self._inner, self._stand_ins, strict=True):
            inner.param_groups[0].update({key: value for key, value in group.items() if key != "params"})
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, inner, stand_in)

    def _update(self, parameter: nn.Parameter, inner: Optimizer, stand_in: nn.Parameter) -> None:
        weights = local(parameter)
        state = {key: _local(value) for key, value in self.state[parameter].items()}
        low = state.pop(LOW) if state else torch.zeros_like(weights, dtype=torch.int16)
        assert parameter.grad is not None
        stand_in.data = joined(weights, low)
        stand_in.grad = local(parameter.grad).float()
        inner.state[stand_in] = state
        inner.step()
        split_into(stand_in.data, weights, low)
        self.state[parameter] = {**inner.state.pop(stand_in), LOW: low}
        stand_in.grad, stand_in.data = None, stand_in.data.new_empty([0] * parameter.ndim)


def _local(value: Any) -> Any:
    """What this process holds of an optimizer's state, which may be a number."""
    return local(value) if isinstance(value, Tensor) else value


def joined(high: Tensor, low: Tensor) -> Tensor:
    """(...) float32 from (...) bfloat16 and the (...) int16 that belongs to it."""
    bits = high.view(torch.int16).to(torch.int32).bitwise_left_shift_(16).add_(low)
    return bits.view(torch.float32)


def split_into(value: Tensor, high: Tensor, low: Tensor) -> None:
    """Write (...) float32 `value`, which is lost, as the nearest bfloat16 and what gives it back with it."""
    bits = value.view(torch.int32)
    # Ties away from 0: to even would leave differences of both 2^15 and -2^15, and int16 has one of them.
    nearest = bits.add(1 << 15).bitwise_right_shift_(16)
    high.view(torch.int16).copy_(nearest)
    low.copy_(bits.sub_(nearest.bitwise_left_shift_(16)))
