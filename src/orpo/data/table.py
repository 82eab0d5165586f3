"""Pairs in Arrow: compact, of one fixed schema, turned into `Pair`s only where they are looked at."""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from orpo.data.pairs import Message, Pair, Prompt, RowCounts
from orpo.errors import ConfigError, DataError

_BATCH = 4096

_TURN = pa.struct([("role", pa.string()), ("content", pa.large_string())])
_SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),  # the prompt, if it is plain text; else null
        ("turns", pa.list_(_TURN)),  # the prompt, if it is messages; else null
        ("chosen", pa.large_string()),
        ("rejected", pa.large_string()),
        ("where", pa.string()),
    ]
)


@dataclass(frozen=True)
class SourceReport:
    """What was read from one source, for people and for the record."""

    name: str
    """As the user named it."""

    split: str | None
    """The split that was read; None where the source has none."""

    splits: tuple[str, ...]
    """All the splits that there are."""

    schema: str
    """Name of the schema that its rows have, such as `HelpSteer3`."""

    detected: str
    """The schema in words, with the criterion that was chosen."""

    unused_columns: tuple[str, ...]
    """Columns that are no part of the pairs."""

    counts: RowCounts
    """What became of its rows."""

    fingerprint: str
    """`sha256:…` of the files (or of the pairs, for rows in memory); `hub:COMMIT:…`; `datasets:…`."""

    example: Pair
    """The first pair."""


class PairTable:
    """A sequence of pairs, with the report of where they are from.

    Args:
        arrow: as `to_arrow` makes it.
        sources: reports, in the order of the pairs.
    """

    def __init__(self, arrow: pa.Table, sources: Sequence[SourceReport]) -> None:
        self._arrow = arrow
        self.sources = tuple(sources)

    @property
    def counts(self) -> RowCounts:
        """What became of the rows of all sources."""
        total = RowCounts()
        for source in self.sources:
            total.include(source.counts)
        return total

    def __len__(self) -> int:
        return self._arrow.num_rows

    def __getitem__(self, index: int) -> Pair:
        position = range(len(self))[index]  # negative indices, and IndexError beyond the end
        return _to_pair(self._arrow.slice(position, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Pair]:
        for batch in self._arrow.to_batches():
            yield from map(_to_pair, batch.to_pylist())

    def select(self, indices: Sequence[int]) -> PairTable:
        """The pairs at `indices`, in that order; `sources` still tells of all of them."""
        return PairTable(self._arrow.take(pa.array(indices, pa.int64())), self.sources)


def to_arrow(pairs: Iterable[Pair]) -> pa.Table:
    """The pairs as an Arrow table, built batch by batch."""
    remaining = iter(pairs)
    batches: list[pa.RecordBatch] = []
    while batch := list(islice(remaining, _BATCH)):
        batches.append(pa.RecordBatch.from_pylist([_to_row(pair) for pair in batch], _SCHEMA))
    return pa.Table.from_batches(batches, _SCHEMA)


def fingerprint_pairs(pairs: Iterable[Pair]) -> str:
    """`sha256:…` of the texts of the pairs, in order."""
    digest = hashlib.sha256()
    for pair in pairs:
        digest.update(json.dumps([_prompt_key(pair.prompt), pair.chosen, pair.rejected]).encode())
    return f"sha256:{digest.hexdigest()}"


def hold_out(table: PairTable, fraction: float, seed: int) -> tuple[PairTable, PairTable]:
    """Split pairs into those to train on and those to evaluate on, each in the order of the table.

    All pairs of one prompt go to the same side.  The prompts held out are the first ones in an order that
    depends on the seed and on nothing else, as far as their pairs fit; so the share of held-out pairs is at
    most `fraction`, rounded, and a prompt keeps its place in that order when rows are added.

    Args:
        table: what to split.
        fraction: share of the pairs to hold out, in (0, 1).
        seed: which prompts are held out.

    Raises:
        ConfigError: `fraction` is not in (0, 1).
        DataError: too few prompts, or too many pairs of each, to leave something on both sides.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"the fraction to hold out: expected a number between 0 and 1, got {fraction}")
    members: dict[str, list[int]] = defaultdict(list)
    for index, pair in enumerate(table):
        members[_rank(pair, seed)].append(index)
    room = min(max(1, round(fraction * len(table))), len(table) - 1)
    held_out: set[int] = set()
    for rank in sorted(members):
        if len(held_out) + len(members[rank]) <= room:
            held_out.update(members[rank])
    if not held_out:
        raise DataError(
            f"cannot hold out {room} of {len(table)} pairs: they have {len(members)} different prompts, "
            "and all pairs of a prompt stay together",
            hint="Hold out a larger fraction, or name a source for `data.eval`.",
        )
    kept = [index for index in range(len(table)) if index not in held_out]
    return table.select(kept), table.select(sorted(held_out))


def _rank(pair: Pair, seed: int) -> str:
    """The place of a pair's prompt in the order that `seed` gives."""
    return hashlib.sha256(json.dumps([seed, _prompt_key(pair.prompt)]).encode()).hexdigest()


def _prompt_key(prompt: Prompt) -> str | list[list[str]]:
    return prompt if isinstance(prompt, str) else [[turn.role, turn.content] for turn in prompt]


def _to_row(pair: Pair) -> dict[str, Any]:
    text, turns = (pair.prompt, None) if isinstance(pair.prompt, str) else (None, pair.prompt)
    return {
        "text": text,
        "turns": turns and [{"role": turn.role, "content": turn.content} for turn in turns],
        "chosen": pair.chosen,
        "rejected": pair.rejected,
        "where": pair.where,
    }


def _to_pair(row: dict[str, Any]) -> Pair:
    prompt = row["text"] if row["turns"] is None else tuple(Message(**turn) for turn in row["turns"])
    return Pair(prompt, row["chosen"], row["rejected"], row["where"])
