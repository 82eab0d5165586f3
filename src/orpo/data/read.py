"""Sources in, pairs out, every row accounted for: the door to this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import pyarrow as pa

from orpo.data.columns import column_types
from orpo.data.pairs import Pair, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.shapes import Shape, Transcripts, detect_shape, read_pair
from orpo.data.sources import Source, open_source
from orpo.data.spec import Role
from orpo.data.table import PairTable, SourceReport, fingerprint_pairs, to_arrow
from orpo.errors import ConfigError, DataError

_HEAD = 100
"""Rows that the shape is told from."""


def read_pairs(sources: Sequence[Source], *, role: Role, transcripts: Transcripts = "messages") -> PairTable:
    """The pairs of all sources, one after the other.

    Args:
        sources: at least one.
        role: what the pairs are for; it decides which split is read where none is named.
        transcripts: what transcripts become.

    Raises:
        DataError: a source cannot be read, has no known shape, or not one usable row.
        ConfigError: no sources; one that does not exist, or that has no such split or configuration.
        NetworkError: a Hub dataset cannot be had.
    """
    if not sources:
        raise ConfigError("there are no sources to read pairs from")
    tables, reports = zip(*(_read_source(source, role, transcripts) for source in sources), strict=True)
    return PairTable(pa.concat_tables(tables), reports)


def _read_source(source: Source, role: Role, transcripts: Transcripts) -> tuple[pa.Table, SourceReport]:
    opened = open_source(source, role)
    head = list(islice(opened.rows, _HEAD))
    if not head:
        raise DataError(f"{opened.name}: there are no rows")
    shape = detect_shape(head, opened.name, opened.spec)
    counts = RowCounts()
    arrow = to_arrow(_usable(chain(head, opened.rows), shape, transcripts, counts))
    pairs = PairTable(arrow, ())
    if not len(pairs):
        raise DataError(_none_left(opened.name, shape, counts))
    return arrow, SourceReport(
        name=opened.name,
        split=opened.split,
        splits=opened.splits,
        shape=shape,
        unused_columns=tuple(name for name in column_types(head) if name not in shape.columns),
        counts=counts,
        fingerprint=opened.fingerprint or fingerprint_pairs(pairs),
        example=pairs[0],
    )


def _usable(rows: Iterator[Row], shape: Shape, transcripts: Transcripts, counts: RowCounts) -> Iterator[Pair]:
    """The rows that make pairs; what becomes of each is counted."""
    for row in rows:
        counts.read += 1
        try:
            pair = read_pair(row, shape, transcripts)
        except UnusableRowError as unusable:
            counts.drop(unusable.reason, row.where)
        else:
            counts.kept += 1
            yield pair


def _none_left(name: str, shape: Shape, counts: RowCounts) -> str:
    reasons = "\n".join(
        f"  {number} {reason} (first: {counts.examples[reason]})"
        for reason, number in counts.dropped.most_common()
    )
    return f"{name}: not one of {counts.read} rows ({shape.value}) can be used:\n{reasons}"
