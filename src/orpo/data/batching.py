"""From pairs to micro-batches: pure functions of lengths, seed, world size and token budget.

The global batch is a property of the optimisation and is the same for any world size and budget; how it
is split is a property of the hardware, and the objective's normalisers make the split invisible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


@dataclass(frozen=True)
class MicroBatchPlan:
    """The pairs of one forward pass on one rank."""

    indices: tuple[int, ...]
    """Positions in the global batch."""

    weight: float = 1.0
    """0 for the stand-in that keeps a rank without pairs in step with the others."""


def epoch_order(num_pairs: int, *, seed: int, epoch: int, shuffle: bool) -> Indices:
    """(num_pairs,) order of one epoch, a pure function of its arguments."""
    if not shuffle:
        return np.arange(num_pairs)
    return np.random.Generator(np.random.PCG64([seed, epoch])).permutation(num_pairs)


def global_batches(order: Indices, batch_size: int) -> Iterator[Indices]:
    """Consecutive batches of `order`; the last may be smaller."""
    for start in range(0, len(order), batch_size):
        yield order[start : start + batch_size]


def padded_tokens(lengths: Sequence[int]) -> int:
    """Tokens that a plain micro-batch holds: two rows per pair, all as long as the longest branch.

    Args:
        lengths: tokens of each pair's longer branch.
    """
    return 2 * len(lengths) * max(lengths)


def split_batch(lengths: Sequence[int], *, world_size: int, max_tokens: int) -> list[list[MicroBatchPlan]]:
    """Split a batch into micro-batches: per rank, equal in number, balanced, within the budget.

    Pairs of similar length share a micro-batch, which keeps padding low.  A pair above the budget runs
    alone.  Every pair is in exactly one micro-batch of weight 1.

    Args:
        lengths: tokens of each pair's longer branch, at least one pair.
        world_size: number of ranks.
        max_tokens: tokens, padding included, that one micro-batch may hold.

    Returns:
        For each rank, its micro-batches.
    """
    assert len(lengths) > 0
    by_length = sorted(range(len(lengths)), key=lambda i: (-lengths[i], i))
    groups: list[list[int]] = []
    start = 0
    while start < len(by_length):
        size = max(1, max_tokens // (2 * lengths[by_length[start]]))
        groups.append(by_length[start : start + size])
        start += size

    def cost(group: list[int]) -> int:
        return padded_tokens([lengths[i] for i in group])

    while len(groups) % world_size:
        widest = max(groups, key=lambda group: (len(group) > 1, cost(group)))
        if len(widest) == 1:
            break
        groups.remove(widest)
        groups += [widest[: len(widest) // 2], widest[len(widest) // 2 :]]

    groups.sort(key=cost, reverse=True)
    plans = [MicroBatchPlan(tuple(group)) for group in groups]
    shortest = by_length[-1]
    plans += [MicroBatchPlan((shortest,), weight=0.0)] * (-len(plans) % world_size)

    ranks: list[list[MicroBatchPlan]] = [[] for _ in range(world_size)]
    loads = [0] * world_size
    for start in range(0, len(plans), world_size):
        # Longest first, each round's longest to the rank with the least so far.
        for rank, plan in zip(
            np.argsort(loads, kind="stable"), plans[start : start + world_size], strict=True
        ):
            ranks[rank].append(plan)
            loads[rank] += cost(list(plan.indices))
    return ranks
