"""The shapes of rows, and the reasons to refuse one."""

from __future__ import annotations

from typing import Any

import pytest

from orpo.data.pairs import Message, Pair, UnusableRowError
from orpo.data.rows import Row
from orpo.data.shapes import Shape, Transcripts, detect_shape, read_pair
from orpo.errors import DataError

NAN = float("nan")
TRANSCRIPTS = {"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: go"}
STRINGS = {"prompt": "1 + 1 =", "chosen": " 2", "rejected": " 3"}


def user(content: str) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def system(content: str) -> dict[str, Any]:
    return {"role": "system", "content": content}


def messages(*turns: dict[str, Any], prompt: Any = None, rejected: Any = "no") -> dict[str, Any]:
    """A row whose responses are `yes` and `rejected` after the same turns."""
    row = {"chosen": [*turns, assistant("yes")], "rejected": [*turns, assistant(rejected)]}
    return row if prompt is None else {"prompt": prompt, **row}


def detected(*rows: dict[str, Any]) -> Shape:
    return detect_shape([Row(f"row {i}", row) for i, row in enumerate(rows, 1)], "a.jsonl", None)


def read(values: dict[str, Any], shape: Shape | None = None, transcripts: Transcripts = "messages") -> Pair:
    return read_pair(Row("a.jsonl:1", values), shape or detected(values), transcripts)


def reason(values: dict[str, Any], shape: Shape) -> str:
    with pytest.raises(UnusableRowError) as caught:
        read(values, shape)
    return caught.value.reason


def history(*turns: dict[str, Any]) -> tuple[Message, ...]:
    return tuple(Message(turn["role"], turn["content"]) for turn in turns)


@pytest.mark.parametrize(
    ("row", "shape"),
    [
        (STRINGS, Shape.STRINGS),
        (STRINGS | {"prompt": ""}, Shape.STRINGS),
        (TRANSCRIPTS, Shape.TRANSCRIPTS),
        (TRANSCRIPTS | {"prompt": None}, Shape.TRANSCRIPTS),
        (messages(user("hi")), Shape.MESSAGES),
        (messages(user("hi"), prompt="hi"), Shape.MESSAGES),
        (messages(prompt=[user("hi")]), Shape.MESSAGES),
    ],
)
def test_columns_tell_the_shape(row: dict[str, Any], shape: Shape) -> None:
    assert detected(row) is shape


def test_most_rows_decide() -> None:
    assert detected({"chosen": None}, TRANSCRIPTS, STRINGS, STRINGS) is Shape.STRINGS


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "a", "chosen": "b"},
        {"chosen": "no transcript", "rejected": "nor this"},
        {"prompt": "a", "chosen": 1, "rejected": 2},
        {"prompt": "a", "chosen": [], "rejected": []},
        {"prompt": "a", "chosen": ["b"], "rejected": ["c"]},
        {"prompt": "a", "chosen": "[{'role': 'user', 'content': 'a'}]", "rejected": "[{'role': 'user'}]"},
        {"text": "a"},
    ],
)
def test_other_columns_are_an_error_that_shows_them_and_the_shapes(row: dict[str, Any]) -> None:
    with pytest.raises(DataError) as caught:
        detected(row)
    assert all(name in caught.value.message for name in row)
    assert all(shape.description in caught.value.message for shape in Shape)
    assert caught.value.hint


def test_found_columns_are_shown_with_their_types() -> None:
    rows = [
        {"a": 1, "b": [user("x")], "c": {"from": "human", "value": "x"}, "d": True},
        {"a": "x", "b": [], "c": None, "d": NAN, "e": "[{'role': 'user'}]"},
    ]
    with pytest.raises(DataError) as caught:
        detected(*rows)
    assert [line.split(maxsplit=1) for line in caught.value.message.splitlines()[1:6]] == [
        ["a", "number or string"],
        ["b", "list of object {role, content} or empty list"],
        ["c", "object {from, value} or null"],
        ["d", "boolean or null"],
        ["e", "string that spells a list of messages"],
    ]


def test_strings_are_taken_verbatim() -> None:
    assert read(STRINGS) == Pair("1 + 1 =", " 2", " 3", "a.jsonl:1")


@pytest.mark.parametrize(
    "row",
    [
        messages(system("s"), user("a"), assistant("b"), user("c")),
        messages(system("s"), user("a"), assistant("b"), user("c"), prompt="a"),
        messages(system("s"), user("a"), assistant("b"), user("c"), prompt=" c\n"),
        messages(system("s"), user("a"), assistant("b"), user("c"), prompt=""),
        messages(system("s"), user("a"), assistant("b"), user("c"), prompt=[]),
        messages(prompt=[system("s"), user("a"), assistant("b"), user("c")]),
        messages(assistant("b"), user("c"), prompt=[system("s"), user("a")]),
        messages(
            system("s"),
            user("a"),
            assistant("b"),
            user("c"),
            prompt=[system("s"), user("a"), assistant("b"), user("c")],
        ),
    ],
    ids=[
        "implicit",
        "first user turn",
        "last user turn",
        "empty string",
        "empty list",
        "explicit",
        "continued",
        "repeated",
    ],
)
def test_every_way_to_give_the_prompt_means_the_same(row: dict[str, Any]) -> None:
    assert read(row) == Pair(
        history(system("s"), user("a"), assistant("b"), user("c")), "yes", "no", "a.jsonl:1"
    )


def test_a_string_prompt_is_the_users_turn_of_lists_without_one() -> None:
    assert read(messages(prompt=" a ")).prompt == history(user(" a "))
    assert read(messages(system("s"), prompt="a")).prompt == history(system("s"), user("a"))


def test_a_row_of_another_table_engine_may_hold_tuples_and_extra_keys() -> None:
    row = {
        "chosen": (user("a") | {"weight": 1, "tool_calls": None}, assistant("b")),
        "rejected": (user("a"), assistant("c")),
    }
    assert read(row).prompt == history(user("a"))


def test_transcripts_become_messages_or_stay_text() -> None:
    row = {
        "chosen": "\n\nHuman: hi \n\nAssistant: a\n\nHuman:b\n\nAssistant: yes \n",
        "rejected": "\n\nHuman: hi \n\nAssistant: a\n\nHuman:b\n\nAssistant: no",
    }
    assert read(row) == Pair(history(user("hi"), assistant("a"), user("b")), "yes", "no", "a.jsonl:1")
    assert read(row, transcripts="text") == Pair(
        "\n\nHuman: hi \n\nAssistant: a\n\nHuman:b\n\nAssistant:", " yes \n", " no", "a.jsonl:1"
    )


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (STRINGS | {"rejected": " 2"}, "identical responses"),
        (STRINGS | {"chosen": " \n"}, "empty response"),
        (STRINGS | {"rejected": ""}, "empty response"),
        (STRINGS | {"rejected": 3}, "text that is not a string"),
        (STRINGS | {"prompt": ["x"]}, "text that is not a string"),
        (STRINGS | {"rejected": None}, "no value for `rejected`"),
        (STRINGS | {"chosen": NAN}, "no value for `chosen`"),
        ({"chosen": "a", "rejected": "b"}, "no value for `prompt`"),
        (STRINGS | {"chosen": "\ud83d"}, "text that is not valid Unicode"),
    ],
)
def test_strings_are_refused_with_a_reason(row: dict[str, Any], expected: str) -> None:
    assert reason(row, Shape.STRINGS) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (messages(user("a"), rejected="yes"), "identical responses"),
        (messages(user("a"), rejected=" "), "empty response"),
        (messages(user("a"), rejected=None), "text that is not a string"),
        (messages(user("a"), rejected=[{"type": "text", "text": "no"}]), "text that is not a string"),
        (messages(user("a")) | {"rejected": None}, "no value for `rejected`"),
        (messages(user("a")) | {"rejected": "no"}, "not a list of {role, content} messages"),
        (messages(user("a")) | {"rejected": []}, "not a list of {role, content} messages"),
        (messages(user("a")) | {"rejected": [{"from": "gpt"}]}, "not a list of {role, content} messages"),
        (messages({"role": "tool", "content": "4"}), "role other than system, user and assistant"),
        (messages({"role": ["user"], "content": "4"}), "role other than system, user and assistant"),
        (messages(user("a"), assistant("b") | {"tool_calls": [{"name": "f"}]}), "tool calls"),
        (
            messages(user("a")) | {"rejected": [user("b"), assistant("no")]},
            "prompts differ before the last turn",
        ),
        (
            messages(user("a")) | {"rejected": [user("a"), assistant("x"), assistant("no")]},
            "prompts differ before the last turn",
        ),
        (
            {"chosen": [user("a"), assistant("b"), user("c")], "rejected": [user("a"), assistant("d")]},
            "last turn is not the assistant's",
        ),
        (
            {"chosen": [user("a"), assistant("d")], "rejected": [user("a"), assistant("b"), user("c")]},
            "last turn is not the assistant's",
        ),
        (messages(user("a"), prompt="b"), "prompt is no turn of the messages"),
        (messages(user("a"), prompt=[system("s"), user("a")]), "prompt is no turn of the messages"),
        (messages(), "no turn before the response"),
        (messages(prompt=7), "not a list of {role, content} messages"),
        (messages(user("\ud83d")), "text that is not valid Unicode"),
    ],
)
def test_messages_are_refused_with_a_reason(row: dict[str, Any], expected: str) -> None:
    assert reason(row, Shape.MESSAGES) == expected


@pytest.mark.parametrize(
    ("rejected", "expected"),
    [
        ("\n\nHuman: hi\n\nAssistant:hello ", "identical responses"),
        ("\n\nHuman: hi\n\nAssistant: ", "empty response"),
        ("\n\nHuman: ho\n\nAssistant: hello", "prompts differ before the last turn"),
        ("\n\nHuman: hi\n\nAssistant: a\n\nAssistant: b", "prompts differ before the last turn"),
        ("\n\nHuman: hi\n\nAssistant: a\n\nHuman: b", "last turn is not the assistant's"),
        (7, "text that is not a string"),
    ],
)
def test_transcripts_are_refused_with_a_reason(rejected: Any, expected: str) -> None:
    assert reason(TRANSCRIPTS | {"rejected": rejected}, Shape.TRANSCRIPTS) == expected
