"""Examples with a number that a column gives: how much they count, or by how much a response is better."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from orpo.data.columns import number_of
from orpo.data.pairs import Example, Pair, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas.base import Layout, Settings, Values, present


@dataclass(frozen=True)
class Number:
    """What a number in a row is."""

    key: str
    """Its name: in the `columns` of a source, and in `Pair`."""

    least: float
    most: float
    """What single precision holds, with room for sums."""

    of_pairs: bool = False
    """Whether single responses have none."""


WEIGHT = Number("weight", 1e-30, 1e30)
MARGIN = Number("margin", -1e30, 1e30, of_pairs=True)
NUMBERS = (WEIGHT, MARGIN)


@dataclass(frozen=True)
class Numbered:
    """A layout with a number in each row, for all that the row becomes."""

    inner: Layout
    """One that joins no rows."""

    number: Number
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
                given = {self.number.key: self._number(row.values)}
            except UnusableRowError as unusable:
                counts.drop(unusable.reason, row.where)
                continue
            for example in self.inner.examples([self._without_number(row)], settings, counts):
                has_it = isinstance(example, Pair) or not self.number.of_pairs
                yield replace(example, **given) if has_it else example

    def _number(self, values: Values) -> float:
        key, least, most = self.number.key, self.number.least, self.number.most
        number = number_of(present(values, self.column))
        if number is None or not least <= number <= most:
            raise UnusableRowError(f"{key} in `{self.column}` is no number between {least} and {most}")
        return number

    def _without_number(self, row: Row) -> Row:
        """A row whose number is not taken for a judgement."""
        if self.column in self.inner.columns:
            return row
        return Row(row.where, without(row.values, self.column))


def numbers_of(layout: Layout) -> Iterator[Numbered]:
    """The numbers that the rows of a layout have."""
    while isinstance(layout, Numbered):
        yield layout
        layout = layout.inner


def without(values: Values, *columns: str) -> dict[str, object]:
    """The values of the other columns."""
    return {name: value for name, value in values.items() if name not in columns}
