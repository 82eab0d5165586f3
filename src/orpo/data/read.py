"""Sources in, examples out, every row accounted for: the door to this package."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from itertools import chain, islice

import pyarrow as pa

from orpo.data.columns import column_names
from orpo.data.conditions import Condition, parse_conditions
from orpo.data.pairs import Example, RowCounts
from orpo.data.rows import Row
from orpo.data.schemas import Settings, choose_layout, choose_schema, describe
from orpo.data.schemas.unpaired import UNPAIRED
from orpo.data.shapes import Transcripts
from orpo.data.sources import Source, open_source
from orpo.data.spec import Role, SourceSpec
from orpo.data.table import ExampleTable, SourceDescription, SourceReport, fingerprint_examples, to_arrow
from orpo.errors import ConfigError, DataError

_HEAD = 100
"""Rows that the schema is told from."""


@dataclass(frozen=True, kw_only=True)
class SourceStream(SourceDescription):
    """A source whose examples can be read, once."""

    fingerprint: str | None
    """Identity of the content; None if only reading can tell."""

    spec: SourceSpec
    """How it is read, with the split that was chosen."""

    counts: RowCounts
    """What became of the rows that have been read so far."""

    examples: Iterator[Example]
    """At least one, read as they are asked for; DataError if there is none, or a row cannot be read."""

    def report(self, fingerprint: str, example: Example) -> SourceReport:
        """What was read, once it is.

        Args:
            fingerprint: identity of the content.
            example: the first one.
        """
        described = {field.name: getattr(self, field.name) for field in fields(SourceDescription)}
        return SourceReport(**described, counts=self.counts, fingerprint=fingerprint, example=example)


def read_examples(
    sources: Sequence[Source],
    *,
    role: Role,
    transcripts: Transcripts = "messages",
    keep_unpaired: bool = False,
) -> ExampleTable:
    """The examples of all sources, one after the other.

    Args:
        sources: at least one.
        role: what the examples are for; it decides which split is read where none is named.
        transcripts: what transcripts become.
        keep_unpaired: whether responses with a label and without a counterpart are examples; else they are
            dropped.

    Raises:
        DataError: a source cannot be read, has no known schema, needs a criterion, or has not one usable row.
        ConfigError: no sources; one that does not exist, that has no such split or configuration, or whose
            options do not fit its rows.
        NetworkError: a Hub dataset cannot be had.
    """
    if not sources:
        raise ConfigError("there are no sources to read from")
    streams = (
        stream_examples(source, role=role, transcripts=transcripts, keep_unpaired=keep_unpaired)
        for source in sources
    )
    tables, reports = zip(*map(_collect, streams), strict=True)
    return ExampleTable(pa.concat_tables(tables), reports)


def _collect(stream: SourceStream) -> tuple[pa.Table, SourceReport]:
    arrow = to_arrow(stream.examples)
    examples = ExampleTable(arrow, ())
    return arrow, stream.report(stream.fingerprint or fingerprint_examples(examples), examples[0])


def stream_examples(
    source: Source, *, role: Role, transcripts: Transcripts = "messages", keep_unpaired: bool = False
) -> SourceStream:
    """Open a source, tell its schema, and get ready to read its examples.

    Args:
        source: what to open.
        role: see `read_examples`.
        transcripts: see `read_examples`.
        keep_unpaired: see `read_examples`.

    Raises:
        DataError, ConfigError, NetworkError: see `read_examples`.
    """
    opened = open_source(source, role)
    head = list(islice(opened.rows, _HEAD))
    if not head:
        raise DataError(f"{opened.name}: there are no rows")
    spec = opened.spec
    conditions = parse_conditions(spec.where, head, opened.name)
    schema = choose_schema(head, opened.name, spec, role)
    layout = choose_layout(schema, head, opened.name, spec, role)
    settings = Settings(transcripts, spec.policy or "best-vs-worst", spec.min_margin, keep_unpaired)
    detected = describe(schema, layout, spec)
    counts = RowCounts()
    rows = _wanted(chain(head, opened.rows), conditions, counts)
    used = {*layout.columns, *(condition.column for condition in conditions)}
    return SourceStream(
        name=opened.name,
        split=opened.split,
        splits=opened.splits,
        schema=schema.name,
        detected=detected,
        unused_columns=tuple(name for name in column_names(head) if name not in used),
        fingerprint=opened.fingerprint,
        spec=spec,
        counts=counts,
        examples=_at_least_one(layout.examples(rows, settings, counts), opened.name, detected, counts),
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


def _at_least_one(
    examples: Iterator[Example], name: str, detected: str, counts: RowCounts
) -> Iterator[Example]:
    first = next(examples, None)
    if first is None:
        reasons = "\n".join(
            f"  {number} {reason} (first: {counts.examples[reason]})"
            for reason, number in counts.dropped.most_common()
        )
        raise DataError(
            f"{name}: not one of {counts.read} rows can be used; detected {detected}:\n{reasons}",
            hint="Labelled responses without a counterpart are for objective.name: kto."
            if UNPAIRED in counts.dropped
            else "The first row of each reason shows what to change.",
        )
    yield first
    yield from examples
