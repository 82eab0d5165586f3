"""Examples in Arrow: compact, of one fixed schema, turned into objects only where they are looked at."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import pyarrow as pa

from orpo.data.holdout import prompt_key
from orpo.data.pairs import Example, Message, Pair, RowCounts, Single

_BATCH = 4096

_TURN = pa.struct([("role", pa.string()), ("content", pa.large_string())])
_SCHEMA = pa.schema(
    [
        ("text", pa.large_string()),  # the prompt, if it is plain text; else null
        ("turns", pa.list_(_TURN)),  # the prompt, if it is messages; else null
        ("chosen", pa.large_string()),  # null where a single response is undesirable
        ("rejected", pa.large_string()),  # null where a single response is desirable
        ("where", pa.string()),
        ("weight", pa.float64()),
        ("margin", pa.float64()),  # 0 of a single response
    ]
)


@dataclass(frozen=True, kw_only=True)
class SourceDescription:
    """What a source is taken for."""

    name: str
    """As the user named it."""

    split: str | None
    """The split that is read; None where the source has none."""

    splits: tuple[str, ...]
    """All the splits that there are."""

    schema: str
    """Name of the schema that its rows have, such as `HelpSteer3`."""

    detected: str
    """The schema in words, with the criterion that was chosen, and where weights and margins are."""

    unused_columns: tuple[str, ...]
    """Columns that are no part of the examples."""


@dataclass(frozen=True, kw_only=True)
class SourceReport(SourceDescription):
    """What was read from one source, for people and for the record."""

    counts: RowCounts
    """What became of its rows."""

    fingerprint: str
    """`sha256:…` of the files (or of the examples, for rows in memory); `hub:COMMIT:…`; `datasets:…`."""

    example: Example
    """The first one."""


class ExampleTable:
    """A sequence of examples, with the report of where they are from.

    Args:
        arrow: as `to_arrow` makes it.
        sources: reports, in the order of the examples.
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

    def __getitem__(self, index: int) -> Example:
        position = range(len(self))[index]  # negative indices, and IndexError beyond the end
        return to_example(self._arrow.slice(position, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Example]:
        for batch in self._arrow.to_batches():
            yield from map(to_example, batch.to_pylist())

    def prompt_keys(self) -> list[bytes]:
        """`prompt_key` of each example."""
        return [prompt_key(example.prompt) for example in self]

    def select(self, indices: Sequence[int]) -> ExampleTable:
        """The examples at `indices`, in that order; `sources` still tells of all of them."""
        return ExampleTable(self._arrow.take(pa.array(indices, pa.int64())), self.sources)


def to_arrow(examples: Iterable[Example]) -> pa.Table:
    """The examples as an Arrow table, built batch by batch."""
    remaining = iter(examples)
    batches: list[pa.RecordBatch] = []
    while batch := list(islice(remaining, _BATCH)):
        batches.append(pa.RecordBatch.from_pylist([to_row(example) for example in batch], _SCHEMA))
    return pa.Table.from_batches(batches, _SCHEMA)


def fingerprint_examples(examples: Iterable[Example]) -> str:
    """`sha256:…` of what the examples say, in order, wherever they are from."""
    digest = hashlib.sha256()
    for example in examples:
        row = to_row(example)
        del row["where"]
        digest.update(json.dumps(row).encode())
    return f"sha256:{digest.hexdigest()}"


def to_row(example: Example) -> dict[str, Any]:
    """An example as values that Arrow and JSON can hold."""
    prompt = example.prompt
    text, turns = (prompt, None) if isinstance(prompt, str) else (None, prompt)
    if isinstance(example, Pair):
        chosen, rejected, margin = example.chosen, example.rejected, example.margin
    else:
        chosen, rejected = (example.response, None) if example.is_desirable else (None, example.response)
        margin = 0.0
    return {
        "text": text,
        "turns": turns and [{"role": turn.role, "content": turn.content} for turn in turns],
        "chosen": chosen,
        "rejected": rejected,
        "where": example.where,
        "weight": example.weight,
        "margin": margin,
    }


def to_example(row: Mapping[str, Any]) -> Example:
    """What `to_row` was given."""
    prompt = row["text"] if row["turns"] is None else tuple(Message(**turn) for turn in row["turns"])
    chosen, rejected, where, weight = row["chosen"], row["rejected"], row["where"], row["weight"]
    if chosen is None:
        return Single(prompt, rejected, is_desirable=False, where=where, weight=weight)
    if rejected is None:
        return Single(prompt, chosen, is_desirable=True, where=where, weight=weight)
    return Pair(prompt, chosen, rejected, where, weight, row["margin"])
