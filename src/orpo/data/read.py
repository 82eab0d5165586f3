"""Sources in, pairs out, every row accounted for: the door to this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice

import pyarrow as pa

from orpo.data.columns import column_names
from orpo.data.conditions import Condition, parse_conditions
from orpo.data.pairs import RowCounts
from orpo.data.rows import Row
from orpo.data.schemas import Settings, choose_layout, choose_schema
from orpo.data.shapes import Transcripts
from orpo.data.sources import Source, open_source
from orpo.data.spec import Role, SourceSpec
from orpo.data.table import PairTable, SourceReport, fingerprint_pairs, to_arrow
from orpo.errors import ConfigError, DataError

_HEAD = 100
"""Rows that the schema is told from."""


def read_pairs(sources: Sequence[Source], *, role: Role, transcripts: Transcripts = "messages") -> PairTable:
    """The pairs of all sources, one after the other.

    Args:
        sources: at least one.
        role: what the pairs are for; it decides which split is read where none is named.
        transcripts: what transcripts become.

    Raises:
        DataError: a source cannot be read, has no known schema, needs a criterion, or has not one usable row.
        ConfigError: no sources; one that does not exist, that has no such split or configuration, or whose
            options do not fit its rows.
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
    spec = opened.spec or SourceSpec(opened.name)
    conditions = parse_conditions(spec.where, head, opened.name)
    schema = choose_schema(head, opened.name, opened.spec, role)
    layout = choose_layout(schema, opened.name, spec, role)
    settings = Settings(transcripts, spec.policy or "best-vs-worst", spec.min_margin)
    detected = schema.title if spec.criterion is None else f"{schema.title}, {spec.criterion}"
    counts = RowCounts()
    rows = _wanted(chain(head, opened.rows), conditions, counts)
    arrow = to_arrow(layout.pairs(rows, settings, counts))
    pairs = PairTable(arrow, ())
    if not len(pairs):
        raise DataError(_none_left(opened.name, detected, counts))
    used = {*layout.columns, *(condition.column for condition in conditions)}
    return arrow, SourceReport(
        name=opened.name,
        split=opened.split,
        splits=opened.splits,
        schema=schema.name,
        detected=detected,
        unused_columns=tuple(name for name in column_names(head) if name not in used),
        counts=counts,
        fingerprint=opened.fingerprint or fingerprint_pairs(pairs),
        example=pairs[0],
    )


def _wanted(rows: Iterator[Row], conditions: Sequence[Condition], counts: RowCounts) -> Iterator[Row]:
    """The rows that meet all conditions; the others are counted as dropped."""
    for row in rows:
        counts.read += 1
        unmet = next((one for one in conditions if not one.holds(row.values.get(one.column))), None)
        if unmet is None:
            yield row
        else:
            counts.drop(unmet.reason, row.where)


def _none_left(name: str, detected: str, counts: RowCounts) -> str:
    reasons = "\n".join(
        f"  {number} {reason} (first: {counts.examples[reason]})"
        for reason, number in counts.dropped.most_common()
    )
    return f"{name}: not one of {counts.read} rows can be used; detected {detected}:\n{reasons}"
