"""The training pairs as global batches, and a global batch as the micro-batches of one rank."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from orpo.batch import Layout, MicroBatch, PromptTokens, Totals
from orpo.config.schema import TrainingSection
from orpo.data.batching import (
    Indices,
    MicroBatchPlan,
    epoch_order,
    global_batches,
    lengths_of,
    packed_lengths,
)
from orpo.data.collate import batch_totals, collate, micro_batches
from orpo.data.mismatched import Mismatch, Mismatched
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.errors import ConfigError
from orpo.objectives import Objective
from orpo.ops.distributed import World


@dataclass(frozen=True)
class GlobalBatch:
    """The pairs of one optimizer step, over all ranks."""

    pairs: Sequence[TokenizedPair]

    totals: Totals

    mismatch: Mismatch | None = None
    """For objectives that need an estimate of the divergence."""

    @property
    def tokens(self) -> int:
        """Prompt and response tokens of all branches of all pairs, padding not counted."""
        return int(packed_lengths(lengths_of(self.pairs), Layout.PACKED).sum())


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
        max_length: most tokens of prompt + response.
        world: this process among its peers.
        mismatched_references: `Mismatch.reference` by epoch and place in it, for objectives that need it.
    """

    pairs: TokenizedPairs
    size: int
    seed: int
    shuffle: bool
    layout: Layout
    pad_id: int
    prompt_tokens: PromptTokens
    max_length: int
    world: World
    mismatched_references: Mapping[tuple[int, int], float] | None = None

    @classmethod
    def of(
        cls,
        pairs: TokenizedPairs,
        settings: TrainingSection,
        objective: Objective,
        *,
        layout: Layout,
        pad_id: int,
        max_length: int,
        world: World,
    ) -> Batches:
        """The batches that a configuration asks for."""
        return cls(
            pairs=pairs,
            size=settings.batch_size,
            seed=settings.seed,
            shuffle=settings.shuffle,
            layout=layout,
            pad_id=pad_id,
            prompt_tokens=objective.prompt_tokens,
            max_length=max_length,
            world=world,
        )

    @property
    def per_epoch(self) -> int:
        """Global batches of an epoch; the last may be smaller than the others."""
        return math.ceil(len(self.pairs) / self.size)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[GlobalBatch]:
        """The global batches of an epoch, but for the first `start`: a pure function of seed and epoch."""
        for number, indices in islice(enumerate(self.indices(epoch)), start, None):
            yield replace(self.take(indices), mismatch=self._mismatch(indices, epoch, number))

    def indices(self, epoch: int) -> Iterator[Indices]:
        """Which pairs the global batches of an epoch have."""
        order = epoch_order(len(self.pairs), seed=self.seed, epoch=epoch, shuffle=self.shuffle)
        return global_batches(order, self.size)

    def _mismatch(self, indices: Indices, epoch: int, number: int) -> Mismatch | None:
        if self.mismatched_references is None:
            return None
        try:
            reference = self.mismatched_references[epoch, number]
        except KeyError:
            raise ConfigError(
                f"batch {number} of epoch {epoch} was not scored under the reference: a callback has changed "
                "the order of the steps",
                hint="Remove the callback that ends epochs early.",
            ) from None
        return Mismatch(Mismatched.of(self.pairs, [indices], self.max_length), reference)

    def take(self, indices: Indices) -> GlobalBatch:
        """The pairs at `indices` as a global batch."""
        pairs = [self.pairs[i] for i in indices]
        return GlobalBatch(pairs, batch_totals(pairs, self.prompt_tokens))

    def micro_batches(self, pairs: Sequence[TokenizedPair], max_tokens: int) -> list[MicroBatch]:
        """This rank's share of a global batch's pairs, in micro-batches of at most `max_tokens`."""
        return [batch for _, batch in self._split(pairs, max_tokens)]

    def alone(self, pairs: Sequence[TokenizedPair]) -> Iterator[tuple[MicroBatchPlan, MicroBatch]]:
        """This rank's share of a global batch's pairs, each in a micro-batch of its own."""
        return self._split(pairs, 1)

    def _split(
        self, pairs: Sequence[TokenizedPair], max_tokens: int
    ) -> Iterator[tuple[MicroBatchPlan, MicroBatch]]:
        return micro_batches(
            pairs,
            pairs.lengths if isinstance(pairs, Mismatched) else lengths_of(pairs),
            self.layout,
            pad_id=self.pad_id,
            prompt_tokens=self.prompt_tokens,
            max_tokens=max_tokens,
            world=self.world,
        )

    def micro_batch(self, pairs: Sequence[TokenizedPair]) -> MicroBatch:
        """`pairs`, laid out for one forward pass."""
        return collate(pairs, self.layout, pad_id=self.pad_id, prompt_tokens=self.prompt_tokens)
