"""The schema of a source, and the options that have a meaning for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.data.rows import Row
from orpo.data.schemas.detect import choose_schema
from orpo.data.spec import SourceSpec
from orpo.errors import ConfigError, DataError
from tests.preferences import assistant, load, user

NAN = float("nan")
TRANSCRIPTS = {"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: go"}
STRINGS = {"prompt": "1 + 1 =", "chosen": " 2", "rejected": " 3"}
MESSAGES = {"chosen": [user("hi"), assistant("yes")], "rejected": [user("hi"), assistant("no")]}
SCORED = {"instruction": "q", "completions": [{"response": t, "overall_score": len(t)} for t in ("a", "bb")]}


def detected(*rows: dict[str, Any]) -> str:
    return choose_schema(
        [Row(f"row {i}", row) for i, row in enumerate(rows, 1)], "a.jsonl", SourceSpec("a.jsonl"), "train"
    ).name


@pytest.mark.parametrize(
    ("row", "schema"),
    [
        (STRINGS, "strings"),
        (STRINGS | {"prompt": ""}, "strings"),
        (TRANSCRIPTS, "transcripts"),
        (TRANSCRIPTS | {"prompt": None}, "transcripts"),
        (MESSAGES, "messages"),
        (MESSAGES | {"prompt": "hi"}, "messages"),
        (MESSAGES | {"prompt": [user("hi")]}, "messages"),
        (MESSAGES | {"winner": "model_a", "label": True, "messages": [user("hi")]}, "messages"),
    ],
)
def test_columns_tell_the_schema(row: dict[str, Any], schema: str) -> None:
    assert detected(row) == schema


def test_most_rows_decide() -> None:
    assert detected({"chosen": None}, TRANSCRIPTS, STRINGS, STRINGS) == "strings"


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b"},
        {"chosen": "no transcript", "rejected": "nor this"},
        {"prompt": "a", "chosen": 1, "rejected": 2},
        {"prompt": "a", "chosen": [], "rejected": []},
        {"prompt": "a", "chosen": ["b"], "rejected": ["c"]},
        {"prompt": "a", "chosen": "[{'role': 'user', 'content': 'a'}]", "rejected": "[{'role': 'user'}]"},
        {"prompt": "a", "completion": "b", "label": "sports"},
        {"prompt": "a", "response": "b", "helpfulness": 4},
        {"prompt": "a", "response": "b", "rejected_response": "c"},
        {"text": "a"},
    ],
)
def test_other_columns_are_an_error_that_shows_them_and_the_schemas(row: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        detected(row)
    assert all(name in caught.value.message for name in row)
    assert "HelpSteer3 (A/B with overall_preference)" in caught.value.message
    assert caught.value.hint


def test_found_columns_are_shown_with_their_types_in_harmless_characters() -> None:
    rows = [
        {"a": 1, "b": [user("x")], "c": {"from": "human", "value": "x"}, "d": True},
        {"a": "x", "b": [], "c": None, "d": NAN, "e": "[{'role': 'user'}]", "\x1b[31m": 1},
    ]
    with pytest.raises(DataError) as caught:
        detected(*rows)
    assert [line.split(maxsplit=1) for line in caught.value.message.splitlines()[1:7]] == [
        ["a", "number or string"],
        ["b", "list of object {role, content} or empty list"],
        ["c", "object {from, value} or null"],
        ["d", "boolean or null"],
        ["e", "string that spells a list of messages"],
        ["�[31m", "number"],
    ]


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        (STRINGS, {"policy": "best-vs-worst"}, "`policy` has no meaning for strings"),
        (STRINGS, {"min_margin": 1.0}, "`min_margin` has no meaning for strings"),
        (STRINGS, {"criterion": "safer"}, "`criterion: safer` has no meaning for strings"),
        (SCORED, {"policy": "best"}, "`policy`: expected one of `best-vs-worst`, .*, got 'best'"),
        (SCORED, {"min_margin": -1.0}, "`min_margin`: expected a number >= 0, got -1.0"),
        (SCORED, {"min_margin": NAN}, "`min_margin`: expected a number >= 0, got nan"),
    ],
)
def test_an_option_without_a_meaning_is_an_error_and_not_ignored(
    rows: dict[str, Any], options: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=message):
        load(tmp_path, [rows], **options)


def test_a_criterion_that_is_none_of_the_choices_is_an_error_that_names_them(tmp_path: Path) -> None:
    row = {"prompt": "q", "response_0": "a", "response_1": "b"}
    row |= {"better_response_id": 0, "safer_response_id": 0}
    with pytest.raises(ConfigError, match="expected one of `better`, `safer`, got 'best'"):
        load(tmp_path, [row], criterion="best")
