"""The training pairs as global batches, and a global batch as the micro-batches of one rank."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orpo.batch import Layout, MicroBatch, PromptTokens, Totals
from orpo.data.batching import Indices, Lengths, epoch_order, global_batches, packed_lengths, split_batch
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.ops.distributed import World


@dataclass(frozen=True)
class GlobalBatch:
    """The pairs of one optimizer step, over all ranks."""

    pairs: Sequence[TokenizedPair]

    lengths: Lengths
    """(n, 3) tokens of the pairs' prompts, chosen and rejected responses."""

    totals: Totals

    @property
    def tokens(self) -> int:
        """Prompt and response tokens of all branches of all pairs, padding not counted."""
        return int(packed_lengths(self.lengths, Layout.PACKED).sum())


@dataclass(frozen=True)
class Batches:
    """What an optimizer step is given.

    Args:
        pairs: all training pairs.
        size: pairs per optimizer step, over all ranks.
        seed: of the order of the pairs.
        shuffle: False keeps the pairs in their order.
        layout: how micro-batches are laid out.
        pad_id: fills padded rows.
        prompt_tokens: tokens of the prompts that the objective needs scored.
        world: this process among its peers.
    """

    pairs: TokenizedPairs
    size: int
    seed: int
    shuffle: bool
    layout: Layout
    pad_id: int
    prompt_tokens: PromptTokens
    world: World

    @property
    def per_epoch(self) -> int:
        """Global batches of an epoch; the last may be smaller than the others."""
        return math.ceil(len(self.pairs) / self.size)

    def epoch(self, epoch: int) -> Iterator[GlobalBatch]:
        """The global batches of an epoch: a pure function of seed and epoch."""
        order = epoch_order(len(self.pairs), seed=self.seed, epoch=epoch, shuffle=self.shuffle)
        return (self.take(indices) for indices in global_batches(order, self.size))

    def take(self, indices: Indices) -> GlobalBatch:
        """The pairs at `indices` as a global batch."""
        pairs = [self.pairs[i] for i in indices]
        return GlobalBatch(pairs, self.pairs.lengths[indices], batch_totals(pairs, self.prompt_tokens))

    def micro_batches(self, batch: GlobalBatch, max_tokens: int) -> list[MicroBatch]:
        """This rank's share of a global batch, split into micro-batches of at most `max_tokens`."""
        plans = split_batch(
            batch.lengths, layout=self.layout, world_size=self.world.size, max_tokens=max_tokens
        )
        return [
            self.micro_batch([batch.pairs[i] for i in plan.indices], plan.weight)
            for plan in plans[self.world.rank]
        ]

    def micro_batch(self, pairs: Sequence[TokenizedPair], weight: float = 1.0) -> MicroBatch:
        """`pairs`, laid out for one forward pass."""
        return collate(
            pairs, self.layout, pad_id=self.pad_id, prompt_tokens=self.prompt_tokens, weight=weight
        )
