"""Which schema the rows of a source have, and which of its layouts to read."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import get_args

from orpo.data.columns import column_types, number_of
from orpo.data.mapping import mapping_hint
from orpo.data.rows import Row
from orpo.data.schemas.base import Layout, Schema
from orpo.data.schemas.mapped import mapped_schema, says_only_numbers
from orpo.data.schemas.numbered import MARGIN, NUMBERS, Number, Numbered, numbers_of, without
from orpo.data.schemas.registry import SCHEMAS
from orpo.data.spec import Policy, Role, SourceSpec
from orpo.errors import ConfigError, DataError
from orpo.text import printable


def choose_schema(rows: Sequence[Row], name: str, spec: SourceSpec, role: Role) -> Schema:
    """The schema that the source's `columns` describe, or else the one that most of `rows` have.

    Args:
        rows: the first rows of the source.
        name: its name, for messages.
        spec: what was opened.
        role: what the rows are for.

    Raises:
        ConfigError: `columns` are wrong.
        DataError: none of the rows has a known schema.
    """
    if spec.columns is not None:
        mapped = mapped_schema(spec.columns, rows, name)
        if mapped is not None:
            return mapped
    detected = _detected(rows)
    if detected is None:
        columns = _declared(spec).values()
        detected = _detected([Row(row.where, without(row.values, *columns)) for row in rows])
    if detected is not None:
        return detected
    found = {printable(column): printable(types) for column, types in column_types(rows).items()}
    width = max(map(len, found), default=0)
    raise DataError(
        "\n".join(
            [
                f"{name}: the columns do not make preference pairs, nor single responses. Found in the "
                f"first {len(rows)} rows:",
                *(f"  {column:{width}}  {types}" for column, types in found.items()),
                "Expected the columns of one of:",
                *dict.fromkeys(f"  {schema.title}" for schema in SCHEMAS),
            ]
        ),
        hint=mapping_hint(rows, spec, role),
    )


def choose_layout(schema: Schema, rows: Sequence[Row], name: str, spec: SourceSpec, role: Role) -> Layout:
    """The layout for the criterion that the user chose, with weights and margins, options checked against it.

    Args:
        schema: what `choose_schema` gave.
        rows: see `choose_schema`.
        name: see `choose_schema`.
        spec: see `choose_schema`.
        role: see `choose_schema`.

    Raises:
        DataError: rows have several judgements and none is chosen.
        ConfigError: an option that is wrong, or that has no meaning for this schema.
    """
    layout = _layout(schema, name, spec, role)
    _require_meaning(layout, schema, name, spec)
    for number, column in (_declared(spec) | _found(layout, rows, spec)).items():
        layout = Numbered(layout, number, column)
    return layout


def _require_meaning(layout: Layout, schema: Schema, name: str, spec: SourceSpec) -> None:
    """Refuse options that are wrong, or that the layout has no use for."""
    if spec.policy is not None and spec.policy not in get_args(Policy):
        raise ConfigError(
            f"{name}: `policy`: expected one of {_listed(get_args(Policy))}, got {spec.policy!r}"
        )
    if not (spec.min_margin >= 0 and math.isfinite(spec.min_margin)):
        raise ConfigError(f"{name}: `min_margin`: expected a number >= 0, got {spec.min_margin!r}")
    given = {"policy": spec.policy is not None, "min_margin": spec.min_margin > 0}
    for option, is_given in given.items():
        if is_given and option not in layout.options:
            raise ConfigError(
                f"{name}: `{option}` has no meaning for {schema.title}: {_NEEDS[option]}",
                hint=f"Remove `{option}`.",
            )
    for number in _declared(spec) if layout.joins_rows else ():
        raise ConfigError(
            f"{name}: `columns.{number.key}` has no meaning for {schema.title}: several rows make a pair, "
            f"each with a {number.key} of its own",
            hint=f"Remove `{number.key}`.",
        )


_NEEDS = {
    "policy": "it chooses among several scored responses to a prompt",
    "min_margin": "it needs scores, ranks or graded labels",
}


def _layout(schema: Schema, name: str, spec: SourceSpec, role: Role) -> Layout:
    if spec.criterion and spec.criterion in schema.layouts:
        return schema.layouts[spec.criterion]
    criteria = [criterion for criterion in schema.layouts if criterion]
    if not criteria:
        if spec.criterion is None:
            (layout,) = schema.layouts.values()
            return layout
        raise ConfigError(
            f"{name}: `criterion: {spec.criterion}` has no meaning for {schema.title}: it has one judgement",
            hint="Remove `criterion`.",
        )
    hint = (
        f"Choose one in the config, `data.{role}: {{path: {spec.path}, criterion: {criteria[0]}}}`, or on "
        f"the command line, `data.{role}.criterion={criteria[0]}`."
    )
    if spec.criterion is None:
        raise DataError(
            f"{name}: detected {schema.title}, which judges by several criteria, and they differ. Which one "
            f"to learn from is for you to say: {_listed(criteria)}",
            hint=hint,
        )
    raise ConfigError(
        f"{name}: `criterion`: expected one of {_listed(criteria)}, got {spec.criterion!r}", hint=hint
    )


def describe(schema: Schema, layout: Layout, spec: SourceSpec) -> str:
    """A schema in words, with the criterion that the user chose, and where weights and margins are."""
    numbers = (f"{one.number.key}s in `{one.column}`" for one in numbers_of(layout))
    return ", ".join(filter(None, (schema.title, spec.criterion, *numbers)))


def _declared(spec: SourceSpec) -> dict[Number, str]:
    """The columns of numbers that the user named."""
    columns = spec.columns or {}
    return {number: columns[number.key] for number in NUMBERS if columns.get(number.key) is not None}


def _found(layout: Layout, rows: Sequence[Row], spec: SourceSpec) -> dict[Number, str]:
    """The column of margins by its usual name, where that is left to the names and all rows have a number."""
    column = MARGIN.key
    taken = {*layout.columns, *_declared(spec).values()}
    is_open = spec.columns is None or (says_only_numbers(spec.columns) and MARGIN not in _declared(spec))
    if not is_open or layout.joins_rows or column in taken:
        return {}
    has_numbers = all(number_of(row.values.get(column)) is not None for row in rows)
    return {MARGIN: column} if has_numbers else {}


def _detected(rows: Sequence[Row]) -> Schema | None:
    """The schema that most of the rows have."""
    votes = Counter(position for position in map(_position, rows) if position is not None)
    return SCHEMAS[votes.most_common(1)[0][0]] if votes else None


def _position(row: Row) -> int | None:
    """The place of a row's schema in the registry."""
    return next((place for place, schema in enumerate(SCHEMAS) if schema.fits(row.values)), None)


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)
