"""What values are, whichever way files spell them."""

from __future__ import annotations

from typing import Any

import pytest

from orpo.data.columns import column_names, column_types, is_blank, label_of, number_of
from orpo.data.rows import Row

NAN = float("nan")


@pytest.mark.parametrize(
    ("value", "number"),
    [
        *((1, 1.0), ("2.5", 2.5), (" 3 ", 3.0), (True, None), ("x", None), (NAN, None), ("inf", None)),
        *((10**400, None), (None, None), ([1], None)),
    ],
)
def test_numbers_are_finite_and_may_be_spelled(value: Any, number: float | None) -> None:
    assert number_of(value) == number


def test_labels_are_the_same_however_they_are_spelled() -> None:
    assert label_of(1) == label_of("1") == label_of(1.0) == label_of(" 1.0")
    assert label_of(True) == label_of("True") == "true"
    assert label_of(True) != label_of(1)
    assert label_of(" Tie") == "tie"
    assert [label_of(value) for value in (None, [1], {}, b"a")] == [None] * 4


def test_blank_is_missing_or_empty() -> None:
    assert all(map(is_blank, (None, NAN, "", " \n", [], (), {})))
    assert not any(map(is_blank, (0, False, "a", [None], {"a": None}, 0.0)))


def test_columns_are_described_in_their_order_and_not_endlessly() -> None:
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    rows = [Row("row 1", {"b": 1, "a": nested}), Row("row 2", {"c": None, "b": "x"})]
    assert column_names(rows) == ("b", "a", "c")
    assert column_types(rows) == {
        "b": "number or string",
        "a": "list of list of list of list of list",
        "c": "null",
    }
