"""Filters that the user asks for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.data.conditions import parse_conditions
from orpo.data.rows import Row
from orpo.errors import ConfigError
from tests.preferences import load, texts


@pytest.mark.parametrize(
    ("condition", "holds", "fails"),
    [
        ("train", ["train", "Train "], ["val", None, 1, ["train"]]),
        (1, [1, 1.0, "1", "1.0"], [2, True, None, "one"]),
        (True, [True, "true", "True"], [False, 1, None]),
        (["a", "b"], ["a", "b"], ["c", None]),
        (">= 2", [2, 2.0, "3"], [1, "x", None, True]),
        ("<=2", [2, -1], [3]),
        ("> 2", [3], [2]),
        ("< 2", [1], [2, None]),
        ("!= tie", ["won", None, 1], ["tie", "Tie"]),
    ],
)
def test_a_condition_holds_for_some_values(condition: Any, holds: list[Any], fails: list[Any]) -> None:
    (parsed,) = parse_conditions({"c": condition}, [Row("row 1", {"c": 1})], "a.jsonl")
    assert [value for value in (*holds, *fails) if parsed.holds(value)] == holds


@pytest.mark.parametrize("condition", [None, [], [None], {"a": 1}, ">= much"])
def test_what_is_no_condition_is_an_error(condition: Any) -> None:
    with pytest.raises(ConfigError, match=r"a\.jsonl: `where`: c: expected"):
        parse_conditions({"c": condition}, [Row("row 1", {"c": 1})], "a.jsonl")


def test_a_column_that_does_not_exist_is_an_error_that_shows_the_others() -> None:
    with pytest.raises(ConfigError, match=r"there is no column 'x'") as caught:
        parse_conditions({"x": 1}, [Row("row 1", {"c": 1, "d": 2})], "a.jsonl")
    assert caught.value.hint == "There are: c, d."


def test_rows_are_filtered_only_when_asked_and_counted_by_the_condition(tmp_path: Path) -> None:
    rows = [
        {"prompt": "p", "chosen": f"yes {i}", "rejected": "no", "score": i, "split": split}
        for i, split in enumerate(["train", "train", "val", "train"])
    ]
    assert load(tmp_path, rows).counts.kept == 4
    table = load(tmp_path, rows, where={"split": "train", "score": ">= 1"})
    assert [chosen for chosen, _ in texts(table)] == ["yes 1", "yes 3"]
    assert (table.counts.read, table.counts.kept) == (4, 2)
    assert table.counts.dropped == {
        "does not meet `where`: split = train": 1,
        "does not meet `where`: score >= 1": 1,
    }
    assert table.sources[0].unused_columns == ()
