"""From pairs to micro-batches: pure functions of lengths, seed, world size and token budget.

The global batch is a property of the optimisation and is the same for any world size and budget; how it
is split is a property of the hardware, and the objective's normalisers make the split invisible.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from heapq import heappop, heappush
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from orpo.batch import Layout
from orpo.data.pairs import TokenizedPair

Indices = NDArray[np.int64]
Lengths = NDArray[np.int32]
Groups = list[list[int]]
"""Pairs that share a micro-batch, by their position in the global batch."""

EVEN = 1e-3
"""Share of the mean that loads may differ by and count as equal: far less than the time of a pass varies."""


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
    if layout is Layout.PADDED:
        ranks = _shared_out(_similar(lengths, world_size, max_tokens), lengths, layout, world_size)
    else:
        costs = packed_lengths(lengths, layout).astype(np.int64)
        groups = sorted(_even(costs, world_size, max_tokens), key=lambda group: -costs[group].sum())
        even: Groups = []
        for start in range(0, len(groups), world_size):  # what the ranks run at the same time
            one_each = [[group] for group in groups[start : start + world_size]]
            even += [group for (group,) in _exchanged(one_each, costs, max_tokens)]
        ranks = _exchanged(_shared_out(even, lengths, layout, world_size), costs, max_tokens)
    number = max(map(len, ranks))
    stand_in = MicroBatchPlan((int(branch_lengths(lengths).argmin()),), weight=0.0)
    return [
        [MicroBatchPlan(tuple(sorted(group))) for group in rank] + [stand_in] * (number - len(rank))
        for rank in ranks
    ]


def _shared_out(groups: Groups, lengths: Lengths, layout: Layout, world_size: int) -> list[Groups]:
    """For each rank its groups: of each round's, the longest goes to the rank with the least so far."""
    costs = [tokens_held(lengths[group], layout) for group in groups]
    longest_first = sorted(range(len(groups)), key=lambda i: -costs[i])
    ranks: list[Groups] = [[] for _ in range(world_size)]
    loads = [0] * world_size
    for start in range(0, len(groups), world_size):
        by_load = np.argsort(loads, kind="stable").tolist()
        for rank, i in zip(by_load, longest_first[start : start + world_size], strict=False):
            ranks[rank].append(groups[i])
            loads[rank] += costs[i]
    return ranks


def _similar(lengths: Lengths, world_size: int, max_tokens: int) -> Groups:
    """Groups of pairs of similar length, which keeps padding low: as few as the budget allows, a multiple of
    the ranks, of as few tokens at most as that number of them can have."""
    longest_first = np.argsort(-branch_lengths(lengths), kind="stable")
    widths = branch_lengths(lengths)[longest_first].tolist()
    rows = _branches(lengths)[longest_first].tolist()

    def cut(limit: int) -> list[int]:
        """Where groups of at most `limit` tokens begin."""
        starts, held = [0], 0
        for i, count in enumerate(rows):
            held += count
            if held * widths[starts[-1]] > limit and i > starts[-1]:
                starts.append(i)
                held = count
        return starts

    number = -(-len(cut(max_tokens)) // world_size) * world_size
    limit = bisect_left(range(max_tokens), True, key=lambda limit: len(cut(limit)) <= number)
    bounds = [*cut(limit), len(rows)]
    groups = [longest_first[start:stop].tolist() for start, stop in pairwise(bounds)]
    while len(groups) % world_size:
        largest = max(groups, key=lambda group: (len(group) > 1, tokens_held(lengths[group], Layout.PADDED)))
        if len(largest) == 1:
            break
        groups.remove(largest)
        groups += [largest[: len(largest) // 2], largest[len(largest) // 2 :]]
    return groups


def _even(costs: NDArray[np.int64], world_size: int, max_tokens: int) -> Groups:
    """As few groups as the budget allows, a multiple of the ranks, of about as many tokens each.

    Args:
        costs: (n,) tokens of each pair in a packed row.
        world_size: number of ranks.
        max_tokens: of a group.
    """
    longest_first = np.argsort(-costs, kind="stable").tolist()
    tokens = costs.tolist()
    number = -(-sum(tokens) // max_tokens)
    while True:
        number = min(-(-number // world_size) * world_size, len(tokens))
        # Each pair, the longest first, joins the group that is shortest so far.
        groups: list[tuple[int, int, list[int]]] = [(0, i, []) for i in range(number)]
        for pair in longest_first:
            held, i, group = heappop(groups)
            group.append(pair)
            heappush(groups, (held + tokens[pair], i, group))
        if number == len(tokens) or all(held <= max_tokens or len(g) == 1 for held, _, g in groups):
            return [group for _, _, group in groups]
        number += 1


def _exchanged(ranks: Sequence[Groups], costs: NDArray[np.int64], max_tokens: int) -> list[Groups]:
    """The groups after exchanges of two pairs that let ranks hold as equally many tokens as they can.

    The rank with most tokens gives a pair for a shorter one of the rank with least, or of the next one if
    that does not help, as long as it does.  No group grows beyond the budget.

    Args:
        ranks: their groups.
        costs: (n,) tokens of each pair.
        max_tokens: of a group.
    """
    ranks = [[list(group) for group in groups] for groups in ranks]
    loads = np.array([sum(costs[group].sum() for group in groups) for groups in ranks])
    while loads.max() - loads.min() > EVEN * loads.mean():
        heavy = int(loads.argmax())
        for light in np.argsort(loads, kind="stable").tolist():
            if moved := _exchange(ranks[heavy], ranks[light], loads[heavy] - loads[light], costs, max_tokens):
                loads[[heavy, light]] += (-moved, moved)
                break
        else:
            return ranks
    return ranks


def _exchange(
    heavy: Groups, light: Groups, difference: int, costs: NDArray[np.int64], max_tokens: int
) -> int:
    """Exchange the two pairs that lower the larger of two ranks' loads most; the tokens that this moves."""
    given = [(group, i) for group in heavy for i in range(len(group))]
    taken = [(group, i) for group in light for i in range(len(group))]
    held = np.array([costs[group].sum() for group in light for _ in group])
    moved = costs[[group[i] for group, i in given]][:, None] - costs[[group[i] for group, i in taken]]
    gain = np.minimum(moved, difference - moved)
    gain[held + moved > max_tokens] = 0
    if gain.max(initial=0) <= 0:
        return 0
    best = np.unravel_index(gain.argmax(), gain.shape)
    (group, i), (other, j) = given[best[0]], taken[best[1]]
    group[i], other[j] = other[j], group[i]
    return int(moved[best])
