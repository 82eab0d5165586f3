"""What the columns of a source hold, in words."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from orpo.data.rows import Row


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


def spells_messages(text: str) -> bool:
    """Whether a text is a printed list of messages, as a table saved to CSV leaves behind."""
    start = text[:40].lstrip()
    return start.startswith("[{") and ("role" in start or "content" in start)


def _type_name(value: Any) -> str:
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
        case list() | tuple():
            return f"list of {_type_name(value[0])}" if value else "empty list"
        case _:
            return type(value).__name__
