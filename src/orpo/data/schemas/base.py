"""What a schema is: how the columns of a kind of data set hold examples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orpo.data.columns import is_missing
from orpo.data.pairs import Example, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.shapes import Transcripts
from orpo.data.spec import Policy

TIE = "tie"
BELOW_MARGIN = "difference below min_margin"

Values = Mapping[str, Any]
"""The values of a row by column."""


@dataclass(frozen=True)
class Settings:
    """What the user says about reading rows, beside their columns."""

    transcripts: Transcripts = "messages"
    policy: Policy = "best-vs-worst"
    min_margin: float = 0.0

    keep_unpaired: bool = False
    """Whether labelled responses without a counterpart are examples."""


class Layout(Protocol):
    """A way for columns to hold examples."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        ...

    @property
    def options(self) -> frozenset[str]:
        """The options of a source, among `policy` and `min_margin`, that change the pairs."""
        ...

    @property
    def joins_rows(self) -> bool:
        """Whether several rows make a pair; else each stands for itself."""
        ...

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """What the rows hold; each row is counted once in `counts`, as kept or as dropped."""
        ...


@dataclass(frozen=True)
class Schema:
    """A known kind of data set."""

    name: str
    """Short, for people and for records: the name of the data set, or of the form."""

    form: str
    """What holds the preference, in words."""

    fits: Callable[[Values], bool]
    """Whether a row has its columns."""

    layouts: Mapping[str, Layout]
    """How to read it, by criterion where rows have several judgements; else one, under the empty name."""

    @property
    def title(self) -> str:
        """Name and form on one line."""
        return f"{self.name} ({self.form})"


@dataclass(frozen=True)
class Adapted:
    """A layout for rows that are rewritten before it reads them."""

    columns: tuple[str, ...]
    rewrite: Callable[[Values], dict[str, Any]]
    """The values that `inner` reads; raises UnusableRowError."""

    inner: Layout

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
        return self.inner.examples(self._rewritten(rows, counts), settings, counts)

    def _rewritten(self, rows: Iterable[Row], counts: RowCounts) -> Iterator[Row]:
        for row in rows:
            try:
                values = self.rewrite(row.values)
            except UnusableRowError as unusable:
                counts.drop(unusable.reason, row.where)
            else:
                yield Row(row.where, values)


def only(layout: Layout) -> Mapping[str, Layout]:
    """The layouts of a schema with one judgement per row."""
    return {"": layout}


def examples_by_row(
    rows: Iterable[Row], counts: RowCounts, read: Callable[[Row], Sequence[Example]]
) -> Iterator[Example]:
    """What rows hold that stand for themselves; `read` raises UnusableRowError for those to drop."""
    for row in rows:
        try:
            found = read(row)
        except UnusableRowError as unusable:
            counts.drop(unusable.reason, row.where)
        else:
            counts.kept += 1
            yield from found


def present(values: Values, column: str) -> Any:
    """The value of a column.

    Raises:
        UnusableRowError: there is none.
    """
    value = values.get(column)
    if is_missing(value):
        raise UnusableRowError(f"no value for `{column}`")
    return value


def has(*columns: str) -> Callable[[Values], bool]:
    """A test for rows with all of these columns, empty or not."""
    return lambda values: all(column in values for column in columns)


def require_margin(margin: float, settings: Settings) -> None:
    """Refuse ties, and differences that are too small for the user.

    Raises:
        UnusableRowError: see above.
    """
    if margin == 0:
        raise UnusableRowError(TIE)
    if abs(margin) < settings.min_margin:
        raise UnusableRowError(BELOW_MARGIN)
