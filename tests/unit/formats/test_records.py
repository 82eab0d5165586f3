from __future__ import annotations

import json
from pathlib import Path

import pytest

from orpo.errors import DataError, ResourceError
from orpo.formats.records import (
    OptionalNumber,
    Record,
    read_record,
    read_records,
    write_lines,
    write_list,
)

HOSTILE = [
    "</script><script>alert(1)</script>",
    "\x1b]0;title\x07\x1b[2J",
    "a\u2028b\u2029c\x85d\x0be\r\nf",
    "\u202eoverride \ufeff",
    "=cmd|' /C calc'!A0",
    '{"instruction": "not the row"}',
    "\x00",
    "",
]


class Answer(Record):
    what = "an answer of a test"

    text: str
    score: OptionalNumber = None


@pytest.mark.parametrize("lines", [True, False])
def test_hostile_text_is_data(tmp_path: Path, lines: bool) -> None:
    rows = [Answer(text=text) for text in HOSTILE]
    path = tmp_path / ("rows.jsonl" if lines else "rows.json")
    (write_lines if lines else write_list)(path, rows)
    assert read_records(path, Answer) == rows
    loaded = path.read_text(encoding="utf-8")
    if lines:
        assert [json.loads(line)["text"] for line in loaded.split("\n")[:-1]] == HOSTILE
    else:
        assert [row["text"] for row in json.loads(loaded)] == HOSTILE


def test_fields_that_are_not_known_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"text": "a", "price": 0.1, "raw": {"b": [1]}}\n', encoding="utf-8")
    (row,) = read_records(path, Answer)
    write_lines(path, [row])
    assert json.loads(path.read_text(encoding="utf-8")) == {"text": "a", "price": 0.1, "raw": {"b": [1]}}


def test_null_and_nan_are_no_number_and_what_was_not_given_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        '{"text": "a", "score": NaN}\n{"text": "b", "score": null}\n{"text": "c"}\n', encoding="utf-8"
    )
    rows = read_records(path, Answer)
    assert [row.score for row in rows] == [None, None, None]
    assert [row.fields() for row in rows] == [
        {"text": "a", "score": None},
        {"text": "b", "score": None},
        {"text": "c"},
    ]


def test_every_mistake_has_its_place(tmp_path: Path) -> None:
    lines, rows = tmp_path / "rows.jsonl", tmp_path / "rows.json"
    lines.write_text('{"text": "a"}\n\n{"text": 3, "score": "high"}\n', encoding="utf-8")
    rows.write_text('[{"text": "a"}, {"score": 1}]', encoding="utf-8")
    with pytest.raises(
        DataError,
        match=r"rows.jsonl:3: not an answer of a test: `text`: expected a valid string, got 3; `score`: ",
    ):
        read_records(lines, Answer)
    with pytest.raises(DataError, match=r"rows.json row 2: not an answer of a test: `text` is missing"):
        read_records(rows, Answer)


def test_a_message_shows_a_little_of_a_value_and_nothing_of_its_tricks(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": ["\x1b[2J" + "x" * 1000]}) + "\n", encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_records(path, Answer)
    assert "\x1b" not in caught.value.message
    assert len(caught.value.message) < 250


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ('{"text": ', "Invalid JSON"),
        ('{"text": 1}', "`text`: expected"),
        ("[]", "the row: expected an object"),
    ],
)
def test_a_file_of_one_object_is_checked_too(tmp_path: Path, content: str, problem: str) -> None:
    path = tmp_path / "result.json"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=f"result.json: not an answer of a test: {problem}"):
        read_record(path, Answer)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none.json: cannot be read"):
        read_record(tmp_path / "none.json", Answer)
    with pytest.raises(DataError, match=r"none.jsonl: cannot be read"):
        read_records(tmp_path / "none.jsonl", Answer)


def test_what_cannot_be_written_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    write_lines(path, [Answer(text="old")])
    (tmp_path / "rows.jsonl.tmp").mkdir()
    with pytest.raises(ResourceError, match=r"rows.jsonl cannot be written"):
        write_lines(path, [Answer(text="new")])
    assert read_records(path, Answer) == [Answer(text="old")]
