"""Examples that count as much as a column says."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from orpo.data.columns import number_of
from orpo.data.pairs import Example, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas.base import Layout, Settings, Values, present

_LEAST, _MOST = 1e-30, 1e30
"""What single precision holds, with room for sums."""


@dataclass(frozen=True)
class Weighted:
    """A layout with a weight in each row, for all that the row becomes."""

    inner: Layout
    """One that joins no rows."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (*self.inner.columns, self.column)

    @property
    def options(self) -> frozenset[str]:
        """See `Layout`."""
        return self.inner.options

    @property
    def joins_rows(self) -> bool:
        """See `Layout`."""
        return self.inner.joins_rows

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`."""
        for row in rows:
            try:
                weight = self._weight(row.values)
            except UnusableRowError as unusable:
                counts.drop(unusable.reason, row.where)
                continue
            for example in self.inner.examples([self._without_weight(row)], settings, counts):
                yield replace(example, weight=weight)

    def _weight(self, values: Values) -> float:
        weight = number_of(present(values, self.column))
        if weight is None or not _LEAST <= weight <= _MOST:
            raise UnusableRowError(f"weight in `{self.column}` is no number between {_LEAST} and {_MOST}")
        return weight

    def _without_weight(self, row: Row) -> Row:
        """A row whose weight is not taken for a judgement."""
        if self.column in self.inner.columns:
            return row
        return Row(row.where, without(row.values, self.column))


def without(values: Values, column: str) -> dict[str, object]:
    """The values of the other columns."""
    return {name: value for name, value in values.items() if name != column}
