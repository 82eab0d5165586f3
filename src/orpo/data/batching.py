"""From pairs to micro-batches: pure functions of lengths, seed, world size and token budget.

The global batch is a property of the optimisation and is the same for any world size and budget; how it
is split is a property of the hardware, and the objective's normalisers make the split invisible.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush

import numpy as np
from numpy.typing import NDArray

from orpo.batch import Layout
from orpo.data.pairs import TokenizedPair

Indices = NDArray[np.int64]
Lengths = NDArray[np.int32]


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


def lengths_of(pairs: Sequence[TokenizedPair]) -> Lengths:
    """(n, 3) tokens of the pairs' prompts, chosen and rejected responses."""
    rows = [(len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs]
    return np.array(rows, dtype=np.int32).reshape(-1, 3)


def tokens_held(lengths: Lengths, layout: Layout) -> int:
    """Tokens of a micro-batch in `layout`, padding included.

    Args:
        lengths: (n, 3) tokens of the pairs' prompts, chosen and rejected responses.
        layout: how they are laid out.
    """
    if layout is Layout.PADDED:
        return int(_branches(lengths).sum()) * int(branch_lengths(lengths).max())
    return int(packed_lengths(lengths, layout).sum())


def branch_lengths(lengths: Lengths) -> Lengths:
    """(n,) tokens of each pair's longer branch."""
    return lengths[:, 0] + lengths[:, 1:].max(axis=1)


def packed_lengths(lengths: Lengths, layout: Layout) -> Lengths:
    """(n,) tokens of each pair in a packed row."""
    copies = 1 if layout is Layout.SHARED else _branches(lengths)
    return copies * lengths[:, 0] + lengths[:, 1:].sum(axis=1)


def tokens_alone(lengths: Lengths, layout: Layout) -> Lengths:
    """(n,) tokens of each pair in a micro-batch of its own."""
    if layout is Layout.PADDED:
        return _branches(lengths) * branch_lengths(lengths)
    return packed_lengths(lengths, layout)


def _branches(lengths: Lengths) -> Lengths:
    """(n,) responses of each pair: 2, or 1 where one is missing."""
    return (lengths[:, 1:] > 0).sum(axis=1, dtype=lengths.dtype)


def split_batch(
    lengths: Lengths, *, layout: Layout, world_size: int, max_tokens: int
) -> list[list[MicroBatchPlan]]:
    """Split a batch into micro-batches: per rank, equal in number, balanced, within the budget.

    A pair above the budget runs alone.  Every pair is in exactly one micro-batch of weight 1.

    Args:
        lengths: (n, 3) tokens of prompt, chosen and rejected response of at least one pair.
        layout: how micro-batches are laid out.
        world_size: number of ranks.
        max_tokens: tokens, padding included, that one micro-batch may hold.

    Returns:
        For each rank, its micro-batches.
    """
    assert len(lengths) > 0
    groups = (_similar if layout is Layout.PADDED else _even)(lengths, layout, world_size, max_tokens)

    def cost(group: Sequence[int]) -> int:
        return tokens_held(lengths[list(group)], layout)

    groups.sort(key=cost, reverse=True)
    plans = [MicroBatchPlan(tuple(sorted(group))) for group in groups]
    shortest = int(branch_lengths(lengths).argmin())
    plans += [MicroBatchPlan((shortest,), weight=0.0)] * (-len(plans) % world_size)

    ranks: list[list[MicroBatchPlan]] = [[] for _ in range(world_size)]
    loads = [0] * world_size
    for start in range(0, len(plans), world_size):
        # Longest first, each round's longest to the rank with the least so far.
        for rank, plan in zip(
            np.argsort(loads, kind="stable"), plans[start : start + world_size], strict=True
        ):
            ranks[rank].append(plan)
            loads[rank] += cost(plan.indices)
    return ranks


def _similar(lengths: Lengths, layout: Layout, world_size: int, max_tokens: int) -> list[list[int]]:
    """Groups of pairs of similar length, which keeps padding low."""
    branches = branch_lengths(lengths)
    by_length = np.argsort(-branches, kind="stable").tolist()
    groups: list[list[int]] = []
    start = 0
    while start < len(by_length):
        size = max(1, max_tokens // (2 * int(branches[by_length[start]])))
        groups.append(by_length[start : start + size])
        start += size
    while len(groups) % world_size:
        widest = max(groups, key=lambda group: (len(group) > 1, tokens_held(lengths[group], layout)))
        if len(widest) == 1:
            break
        groups.remove(widest)
        groups += [widest[: len(widest) // 2], widest[len(widest) // 2 :]]
    return groups


def _even(lengths: Lengths, layout: Layout, world_size: int, max_tokens: int) -> list[list[int]]:
    """As few groups as the budget allows, a multiple of the ranks, of about as many tokens each."""
    costs = packed_lengths(lengths, layout).tolist()
    longest_first = sorted(range(len(costs)), key=lambda i: (-costs[i], i))
    number = -(-sum(costs) // max_tokens)
    while True:
        number = min(-(-number // world_size) * world_size, len(costs))
        # Each pair, the longest first, joins the group that is shortest so far.
        groups: list[tuple[int, int, list[int]]] = [(0, i, []) for i in range(number)]
        for pair in longest_first:
            held, i, group = heappop(groups)
            group.append(pair)
            heappush(groups, (held + costs[pair], i, group))
        if number == len(costs) or all(held <= max_tokens or len(g) == 1 for held, _, g in groups):
            return [group for _, _, group in groups]
        number += 1
