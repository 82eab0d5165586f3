"""Weighted means that stay on the device until somebody asks for them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from orpo.ops.distributed import World


def add_shares(sums: dict[str, Tensor], shares: Mapping[str, Tensor]) -> None:
    """Add a micro-batch's shares to the sums of its global batch, in place."""
    for name, value in shares.items():
        sums[name] = sums[name] + value if name in sums else value


class WeightedMeans:
    """Running weighted means of named scalars, without a host sync per value."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._weight = 0.0

    def add(self, values: Mapping[str, Tensor], weight: float) -> None:
        """Add scalars, already on the device, that count `weight` times."""
        add_shares(self._sums, {name: value.detach() * weight for name, value in values.items()})
        self._weight += weight

    def take(self, world: World) -> dict[str, float]:
        """The means since the last call, after one reduction and one sync; starts afresh.

        Values are shares, which add up over the processes of `world`; every process gave the same weights.
        """
        sums = world.sum(torch.stack(list(self._sums.values())))
        means = dict(zip(self._sums, (sums / self._weight).tolist(), strict=True))
        self._sums, self._weight = {}, 0.0
        return means

    def __bool__(self) -> bool:
        return bool(self._sums)
