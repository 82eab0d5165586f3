"""Conditions on rows (`where`): filters that the user asks for, never a default.

A condition is a value, a list of values of which any may be there, or a comparison as text: `">= 2"`,
`"> 2"`, `"<= 2"`, `"< 2"`, `"!= tie"`.  Values are compared as labels: `1`, `1.0` and `"1"` are the same, as
are `Tie` and `tie`.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orpo.data.columns import column_names, label_of, number_of
from orpo.data.rows import Row
from orpo.errors import ConfigError
from orpo.text import printable

_COMPARISON = re.compile(r"(>=|<=|>|<|!=)\s*(.+)", re.DOTALL)
_ORDER: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}


@dataclass(frozen=True)
class Condition:
    """One column and what it must hold."""

    column: str
    text: str
    """The condition in words, such as `>= 2`."""

    holds: Callable[[Any], bool]
    """Whether a value meets it."""

    @property
    def reason(self) -> str:
        """Why rows that do not meet it are dropped."""
        return f"does not meet `where`: {self.column} {self.text}"


def parse_conditions(where: Mapping[str, Any] | None, rows: Sequence[Row], name: str) -> list[Condition]:
    """The conditions of a source.

    Args:
        where: by column.
        rows: the first rows of the source.
        name: its name, for messages.

    Raises:
        ConfigError: a column that does not exist, or a condition that is none.
    """
    there = column_names(rows)
    for column in where or {}:
        if column not in there:
            raise ConfigError(
                f"{name}: `where`: there is no column {column!r}",
                hint=f"There are: {', '.join(map(printable, there))}.",
            )
    return [_condition(column, value, name) for column, value in (where or {}).items()]


def _condition(column: str, value: Any, name: str) -> Condition:
    comparison = _COMPARISON.fullmatch(value) if isinstance(value, str) else None
    if comparison is None:
        return _equality(column, value, name)
    sign, text = comparison.groups()
    shown = f"{sign} {text}"
    if sign == "!=":
        return Condition(column, shown, lambda found: label_of(found) != label_of(text))
    bound = number_of(text)
    if bound is None:
        raise ConfigError(f"{name}: `where`: {column}: expected a number after {sign}, got {text!r}")
    return Condition(column, shown, lambda found: _compare(number_of(found), _ORDER[sign], bound))


def _compare(found: float | None, order: Callable[[float, float], bool], bound: float) -> bool:
    return found is not None and order(found, bound)


def _equality(column: str, value: Any, name: str) -> Condition:
    values = value if isinstance(value, list | tuple) else [value]
    accepted = {label_of(one) for one in values}
    if not values or None in accepted:
        raise ConfigError(
            f"{name}: `where`: {column}: expected a value, a list of values or a comparison, got {value!r}",
            hint='Comparisons are text with >=, <=, >, < or != in front, such as ">= 2".',
        )
    return Condition(column, f"= {' or '.join(map(str, values))}", lambda found: label_of(found) in accepted)
