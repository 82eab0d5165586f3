"""What the columns of a source hold, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orpo.data.rows import Row

_DEEPEST = 4
"""Levels of nested lists that are described."""


def column_names(rows: Sequence[Row]) -> tuple[str, ...]:
    """The columns of the rows, in their order."""
    return tuple(dict.fromkeys(name for row in rows for name in row.values))


def column_types(rows: Sequence[Row]) -> dict[str, str]:
    """The types of the values of each column, in the order of the columns."""
    types: dict[str, dict[str, None]] = {}
    for row in rows:
        for name, value in row.values.items():
            types.setdefault(name, {})[_type_name(value)] = None
    return {name: " or ".join(found) for name, found in types.items()}


def is_missing(value: Any) -> bool:
    """Whether a value is what tables put where there is none: null, or a float NaN."""
    return value is None or (isinstance(value, float) and math.isnan(value))


def is_blank(value: Any) -> bool:
    """Whether a value is missing, or a text, list or mapping with nothing in it."""
    if isinstance(value, str):
        return not value.strip()
    return is_missing(value) or (isinstance(value, list | tuple | Mapping) and not value)


def number_of(value: Any) -> float | None:
    """A finite number, or the one that a text spells, as CSV leaves behind; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


def label_of(value: Any) -> str | None:
    """A label as text, the same for every way in which files spell it (`1`, `1.0` and `"1"`; `true` and
    `"True"`); None for what is no label."""
    if isinstance(value, bool):
        return str(value).lower()
    number = number_of(value)
    if number is not None:
        return repr(number)
    return value.strip().lower() if isinstance(value, str) else None


def spells_messages(text: str) -> bool:
    """Whether a text is a printed list of messages, as a table saved to CSV leaves behind."""
    start = text[:40].lstrip()
    return start.startswith("[{") and ("role" in start or "content" in start)


def _type_name(value: Any, depth: int = 0) -> str:
    if is_missing(value):
        return "null"
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string that spells a list of messages" if spells_messages(value) else "string"
        case Mapping():
            return f"object {{{', '.join(map(str, list(value)[:8]))}}}"
        case list() | tuple() if not value:
            return "empty list"
        case list() | tuple():
            return "list" if depth == _DEEPEST else f"list of {_type_name(value[0], depth + 1)}"
        case _:
            return type(value).__name__
