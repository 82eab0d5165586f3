"""Tokenised pairs in Arrow: four bytes per token, in memory or mapped from files, whatever their number."""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from enum import IntEnum
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from orpo.data.pairs import TokenizedPair

KEY_BYTES = 16
"""Size of what tells prompts apart."""

SHARD_SCHEMA = pa.schema(
    [
        ("ids", pa.large_list(pa.int32())),  # prompt, chosen response, rejected response
        ("lengths", pa.list_(pa.int32(), 3)),  # of these three
        ("answers", pa.list_(pa.int32())),  # starts and ends in the prompt, in turn
        ("weight", pa.float32()),
        ("margin", pa.float32()),
        ("prompt_key", pa.binary(KEY_BYTES)),
        ("where", pa.string()),
    ]
)


class Side(IntEnum):
    """The responses of a pair that are looked at."""

    BOTH = 0
    CHOSEN = 1
    REJECTED = 2


class Shard:
    """Some tokenised pairs, as one Arrow batch.

    Args:
        batch: with `SHARD_SCHEMA`.
    """

    def __init__(self, batch: pa.RecordBatch) -> None:
        self.batch = batch
        ids: Any = batch.column("ids")
        lengths: Any = batch.column("lengths")
        self._ids: NDArray[np.int32] = ids.values.to_numpy()
        self._starts: NDArray[np.int64] = ids.offsets.to_numpy()
        self.lengths: NDArray[np.int32] = lengths.flatten().to_numpy().reshape(-1, 3)
        self._weights: NDArray[np.float32] = batch.column("weight").to_numpy()
        self._margins: NDArray[np.float32] = batch.column("margin").to_numpy()

    def __len__(self) -> int:
        return self.batch.num_rows

    def pair(self, index: int) -> TokenizedPair:
        """One of the pairs."""
        prompt, chosen, _ = self.lengths[index].tolist()
        ids = self._ids[self._starts[index] : self._starts[index + 1]].tolist()
        spans = iter(self.batch.column("answers")[index].as_py())
        return TokenizedPair(
            prompt=tuple(ids[:prompt]),
            chosen=tuple(ids[prompt : prompt + chosen]),
            rejected=tuple(ids[prompt + chosen :]),
            where=self.batch.column("where")[index].as_py(),
            weight=float(self._weights[index]),
            margin=float(self._margins[index]),
            answers=tuple(zip(spans, spans, strict=True)),
        )

    @property
    def has_margins(self) -> bool:
        """Whether any pair has another margin than 0."""
        return bool(self._margins.any())

    @property
    def prompt_keys(self) -> list[bytes]:
        """What tells the prompts apart, of each pair."""
        keys: Any = self.batch.column("prompt_key").to_pylist()
        return keys

    @property
    def where(self) -> list[str]:
        """Origin of each pair."""
        origins: Any = self.batch.column("where").to_pylist()
        return origins


@dataclass(frozen=True, eq=False)
class TokenizedPairs:
    """A sequence of N `TokenizedPair`s, some or all of those in some shards."""

    shards: tuple[Shard, ...]

    rows: NDArray[np.int64]
    """(N,) number of each pair, counted through all shards."""

    lengths: NDArray[np.int32]
    """(N, 3) tokens of prompt, chosen response and rejected response."""

    stop_ids: tuple[int, ...]
    """The tokens that end responses, for generation to stop at."""

    sides: NDArray[np.int8]
    """(N,) the `Side` of each pair; the other response is as if it were missing."""

    references: NDArray[np.float32] | None = None
    """(N, 2) log-probabilities of chosen and rejected response under a reference model, if there is one."""

    @classmethod
    def of(cls, shards: Sequence[Shard], stop_ids: Sequence[int]) -> TokenizedPairs:
        """All pairs of `shards`, in order."""
        lengths = np.concatenate([np.zeros((0, 3), np.int32), *(shard.lengths for shard in shards)])
        rows, sides = np.arange(len(lengths)), np.zeros(len(lengths), np.int8)
        return cls(tuple(shards), rows, lengths, tuple(sorted(set(stop_ids))), sides)

    @classmethod
    def joined(cls, parts: Sequence[TokenizedPairs]) -> TokenizedPairs:
        """The pairs of all parts, one part after the other; a reference has not scored them yet."""
        assert all(part.references is None for part in parts)
        sizes = np.cumsum([0, *(sum(map(len, part.shards)) for part in parts)])
        return cls(
            shards=tuple(chain.from_iterable(part.shards for part in parts)),
            rows=np.concatenate([part.rows + size for part, size in zip(parts, sizes, strict=False)]),
            lengths=np.concatenate([part.lengths for part in parts]),
            stop_ids=tuple(sorted({stop for part in parts for stop in part.stop_ids})),
            sides=np.concatenate([part.sides for part in parts]),
        )

    @cached_property
    def _shard_starts(self) -> NDArray[np.int64]:
        return np.cumsum([0, *map(len, self.shards)])

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int | np.integer) -> TokenizedPair:
        row = self.rows[index]
        shard = int(np.searchsorted(self._shard_starts, row, side="right")) - 1
        pair = self.shards[shard].pair(int(row - self._shard_starts[shard]))
        if self.references is not None:
            chosen, rejected = self.references[index].tolist()
            pair = replace(pair, reference=(chosen, rejected))
        match self.sides[index]:
            case Side.CHOSEN:
                return replace(pair, rejected=())
            case Side.REJECTED:
                return replace(pair, chosen=())
            case _:
                return pair

    def __iter__(self) -> Iterator[TokenizedPair]:
        return (self[i] for i in range(len(self)))

    @property
    def singles(self) -> int:
        """How many have one response only."""
        return int((self.lengths[:, 1:] == 0).any(axis=1).sum())

    @property
    def has_margins(self) -> bool:
        """Whether any pair of its shards has another margin than 0."""
        return any(shard.has_margins for shard in self.shards)

    def prompt_keys(self) -> list[bytes]:
        """What tells the prompts apart, of each pair."""
        keys = list(chain.from_iterable(shard.prompt_keys for shard in self.shards))
        return [keys[row] for row in self.rows]

    def where(self) -> list[str]:
        """Origin of each pair."""
        origins = list(chain.from_iterable(shard.where for shard in self.shards))
        return [origins[row] for row in self.rows]

    def select(self, indices: ArrayLike) -> TokenizedPairs:
        """The pairs at `indices`, in that order; the shards are shared, not copied."""
        at = np.asarray(indices, dtype=np.int64)
        references = None if self.references is None else self.references[at]
        return replace(
            self, rows=self.rows[at], lengths=self.lengths[at], sides=self.sides[at], references=references
        )

    def only(self, sides: ArrayLike) -> TokenizedPairs:
        """The same pairs, of which one response each is looked at.

        Args:
            sides: (N,) or one for all: which one.
        """
        chosen = np.broadcast_to(np.asarray(sides, dtype=np.int8), len(self))
        lengths = self.lengths.copy()
        lengths[chosen == Side.CHOSEN, 2] = 0
        lengths[chosen == Side.REJECTED, 1] = 0
        return replace(self, lengths=lengths, sides=chosen)

    def with_references(self, references: NDArray[np.float32]) -> TokenizedPairs:
        """The same pairs with (N, 2) scores of a reference model."""
        return replace(self, references=references)


class ShardBuilder:
    """Collects pairs one by one."""

    def __init__(self) -> None:
        self._ids = array("i")
        self._lengths = array("i")
        self._answers: list[list[int]] = []
        self._weights = array("f")
        self._margins = array("f")
        self._prompt_keys: list[bytes] = []
        self._where: list[str] = []
        self.stop_ids: set[int] = set()

    def add(self, pair: TokenizedPair, stop_id: int, prompt_key: bytes = bytes(KEY_BYTES)) -> None:
        """Append one pair.

        Args:
            pair: what is appended.
            stop_id: ends its untruncated responses.
            prompt_key: the same for the same prompt, and for no other.
        """
        for segment in (pair.prompt, pair.chosen, pair.rejected):
            self._ids.extend(segment)
            self._lengths.append(len(segment))
        self._answers.append(list(chain.from_iterable(pair.answers)))
        self._weights.append(pair.weight)
        self._margins.append(pair.margin)
        self._prompt_keys.append(prompt_key)
        self._where.append(pair.where)
        self.stop_ids.add(stop_id)

    def __len__(self) -> int:
        return len(self._where)

    def build(self) -> Shard:
        """The pairs added so far."""
        lengths = np.array(self._lengths, dtype=np.int32)
        offsets: Any = np.concatenate([[0], lengths.reshape(-1, 3).sum(axis=1, dtype=np.int64).cumsum()])
        columns = [
            pa.LargeListArray.from_arrays(pa.array(offsets), pa.array(np.array(self._ids, dtype=np.int32))),
            pa.FixedSizeListArray.from_arrays(pa.array(lengths), 3),
            pa.array(self._answers, pa.list_(pa.int32())),
            np.array(self._weights, dtype=np.float32),
            np.array(self._margins, dtype=np.float32),
            pa.array(self._prompt_keys, pa.binary(KEY_BYTES)),
            pa.array(self._where, pa.string()),
        ]
        return Shard(pa.RecordBatch.from_arrays(columns, schema=SHARD_SCHEMA))
