"""Weighted means that stay on the device until somebody asks for them.

A *weighted sum* is a tensor of two: the sum of weight times value, and the sum of the weights.  Those of
micro-batches, ranks and steps add up, and what they have in the end is divided once.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from orpo.ops.distributed import World


def weighted(values: Tensor, weights: Tensor) -> Tensor:
    """(2,) weighted sum of values and weights of the same shape, detached."""
    return torch.stack([(weights * values).sum(), weights.sum().to(values.dtype)]).detach()


def add_sums(sums: dict[str, Tensor], more: Mapping[str, Tensor]) -> None:
    """Add weighted sums to others by name, in place."""
    for name, value in more.items():
        sums[name] = sums[name] + value if name in sums else value


class WeightedMeans:
    """Running weighted means of named scalars, without a host sync per value."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}

    def add(self, sums: Mapping[str, Tensor]) -> None:
        """Add (2,) weighted sums, already on the device."""
        add_sums(self._sums, sums)

    @property
    def sums(self) -> Mapping[str, Tensor]:
        """This process's weighted sums since the last `take`, by name."""
        return self._sums

    def take(self, world: World) -> dict[str, float]:
        """The means since the last call, after one reduction and one sync; starts afresh.

        The sums of the processes of `world` add up.  What has no weight has no mean and is left out.
        """
        sums = world.sum(torch.stack(list(self._sums.values()))).tolist()
        means = {
            name: total / weight for name, (total, weight) in zip(self._sums, sums, strict=True) if weight
        }
        self._sums = {}
        return means

    def __bool__(self) -> bool:
        return bool(self._sums)
