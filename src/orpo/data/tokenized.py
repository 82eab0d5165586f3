"""Tokenised pairs in a few flat arrays: four bytes per token, whatever the number of pairs."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike, NDArray

from orpo.data.pairs import TokenizedPair


@dataclass(frozen=True, eq=False)
class TokenizedPairs:
    """A sequence of N `TokenizedPair`s."""

    ids: NDArray[np.int32]
    """All ids; a pair's are adjacent: prompt, chosen response, rejected response."""

    starts: NDArray[np.int64]
    """(N,) where each pair starts in `ids`."""

    lengths: NDArray[np.int32]
    """(N, 3) tokens of prompt, chosen response and rejected response."""

    where: NDArray[np.object_]
    """(N,) origin of each pair, for messages to people."""

    stop_ids: tuple[int, ...]
    """The tokens that end responses, for generation to stop at."""

    def __len__(self) -> int:
        return len(self.starts)

    def __getitem__(self, index: int | np.integer) -> TokenizedPair:
        prompt, chosen, rejected = self.lengths[index].tolist()
        start = self.starts[index]
        ids = self.ids[start : start + prompt + chosen + rejected].tolist()
        return TokenizedPair(
            prompt=tuple(ids[:prompt]),
            chosen=tuple(ids[prompt : prompt + chosen]),
            rejected=tuple(ids[prompt + chosen :]),
            where=self.where[index],
        )

    def __iter__(self) -> Iterator[TokenizedPair]:
        return (self[i] for i in range(len(self)))

    def select(self, indices: ArrayLike) -> TokenizedPairs:
        """The pairs at `indices`, in that order; the ids are shared, not copied."""
        at = np.asarray(indices, dtype=np.int64)
        return replace(self, starts=self.starts[at], lengths=self.lengths[at], where=self.where[at])


class TokenizedPairsBuilder:
    """Collects pairs one by one."""

    def __init__(self) -> None:
        self._ids = array("i")
        self._lengths = array("i")
        self._where: list[str] = []
        self._stop_ids: set[int] = set()

    def add(self, pair: TokenizedPair, stop_id: int) -> None:
        """Append one pair, whose untruncated responses end with `stop_id`."""
        for segment in (pair.prompt, pair.chosen, pair.rejected):
            self._ids.extend(segment)
            self._lengths.append(len(segment))
        self._where.append(pair.where)
        self._stop_ids.add(stop_id)

    def build(self) -> TokenizedPairs:
        """The pairs added so far."""
        lengths = np.array(self._lengths, dtype=np.int32).reshape(-1, 3)
        ends = np.cumsum(lengths.sum(axis=1, dtype=np.int64))
        return TokenizedPairs(
            ids=np.array(self._ids, dtype=np.int32),
            starts=ends - lengths.sum(axis=1),
            lengths=lengths,
            where=np.array(self._where, dtype=np.object_),
            stop_ids=tuple(sorted(self._stop_ids)),
        )
