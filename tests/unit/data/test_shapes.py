"""Prompts and responses as text and messages, and the reasons to refuse a row of them."""

from __future__ import annotations

from typing import Any

import pytest

from orpo.data.pairs import Pair, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas import Settings, choose_schema
from orpo.data.shapes import (
    Answer,
    Asked,
    Transcripts,
    any_answer,
    is_messages,
    messages_of,
    pair_of,
    text_of,
)
from orpo.data.spec import SourceSpec
from tests.preferences import assistant, pairs_of, system, turns, user

NAN = float("nan")
TRANSCRIPTS = {"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: go"}
STRINGS = {"prompt": "1 + 1 =", "chosen": " 2", "rejected": " 3"}


def messages(*turns: dict[str, Any], prompt: Any = None, rejected: Any = "no") -> dict[str, Any]:
    """A row whose responses are `yes` and `rejected` after the same turns."""
    row = {"chosen": [*turns, assistant("yes")], "rejected": [*turns, assistant(rejected)]}
    return row if prompt is None else {"prompt": prompt, **row}


def read(
    values: dict[str, Any], like: dict[str, Any] | None = None, transcripts: Transcripts = "messages"
) -> Pair:
    """The pair in a row of a source whose rows are `like` this one."""
    schema = choose_schema([Row("a.jsonl:1", like or values)], "a.jsonl", SourceSpec("a.jsonl"), "train")
    (layout,) = schema.layouts.values()
    counts = RowCounts()
    pairs = pairs_of(layout.examples([Row("a.jsonl:1", values)], Settings(transcripts), counts))
    if not pairs:
        (reason,) = counts.dropped
        raise UnusableRowError(reason)
    (pair,) = pairs
    return pair


def reason(values: dict[str, Any], like: dict[str, Any]) -> str:
    with pytest.raises(UnusableRowError) as caught:
        read(values, like)
    return caught.value.reason


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
        messages(user("c"), prompt=[system("s"), user("a"), assistant("b"), user("c")]),
        messages(
            system("s"), user("a"), assistant("b"), user("c"), prompt=[user("a"), assistant("b"), user("c")]
        ),
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
        "last turn repeated",
        "repeated without the system turn",
        "repeated",
    ],
)
def test_every_way_to_give_the_prompt_means_the_same(row: dict[str, Any]) -> None:
    assert read(row) == Pair(
        turns(system("s"), user("a"), assistant("b"), user("c")), "yes", "no", "a.jsonl:1"
    )


def test_a_string_prompt_is_the_users_turn_of_lists_without_one() -> None:
    assert read(messages(prompt=" a ")).prompt == turns(user(" a "))
    assert read(messages(system("s"), prompt="a")).prompt == turns(system("s"), user("a"))


def test_a_row_of_another_table_engine_may_hold_tuples_and_extra_keys() -> None:
    row = {
        "chosen": (user("a") | {"weight": 1, "tool_calls": None}, assistant("b")),
        "rejected": (user("a"), assistant("c")),
    }
    assert read(row).prompt == turns(user("a"))


def test_transcripts_become_messages_or_stay_text() -> None:
    row = {
        "chosen": "\n\nHuman: hi \n\nAssistant: a\n\nHuman:b\n\nAssistant: yes \n",
        "rejected": "\n\nHuman: hi \n\nAssistant: a\n\nHuman:b\n\nAssistant: no",
    }
    assert read(row) == Pair(turns(user("hi"), assistant("a"), user("b")), "yes", "no", "a.jsonl:1")
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
        (STRINGS | {"prompt": ["x"]}, "not a list of {role, content} messages"),
        (STRINGS | {"rejected": None}, "no value for `rejected`"),
        (STRINGS | {"chosen": NAN}, "no value for `chosen`"),
        ({"chosen": "a", "rejected": "b"}, "no value for `prompt`"),
        (STRINGS | {"chosen": "\ud83d"}, "text that is not valid Unicode"),
    ],
)
def test_strings_are_refused_with_a_reason(row: dict[str, Any], expected: str) -> None:
    assert reason(row, STRINGS) == expected


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        (messages(user("a"), rejected="yes"), "identical responses"),
        (messages(user("a"), rejected=" "), "empty response"),
        (messages(user("a"), rejected=None), "text that is not a string"),
        (messages(user("a"), rejected=[{"type": "text"}]), "text that is not a string"),
        (messages(user("a"), rejected=[{"type": "image"}]), "content with parts other than text"),
        (messages(user("a"), rejected=["no"]), "text that is not a string"),
        (messages(user("a"), rejected=[]), "text that is not a string"),
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
        (messages(user("a"), prompt=[system("s"), user("b")]), "prompt is no turn of the messages"),
        (
            messages(system("t"), user("a"), prompt=[system("s"), user("a")]),
            "prompt is no turn of the messages",
        ),
        (messages(), "no turn before the response"),
        (messages(prompt=7), "not a list of {role, content} messages"),
        (messages(user("\ud83d")), "text that is not valid Unicode"),
    ],
)
def test_messages_are_refused_with_a_reason(row: dict[str, Any], expected: str) -> None:
    assert reason(row, messages(user("a"))) == expected


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
    assert reason(TRANSCRIPTS | {"rejected": rejected}, TRANSCRIPTS) == expected


@pytest.mark.parametrize("alias", ["user", "human", "prompter", "User", "HUMAN"])
def test_users_go_by_several_names(alias: str) -> None:
    assert messages_of([{"role": alias, "content": "a"}]) == turns(user("a"))


@pytest.mark.parametrize("alias", ["assistant", "gpt", "chatgpt", "bot", "model", "ASSISTANT"])
def test_assistants_go_by_several_names(alias: str) -> None:
    assert messages_of({"from": alias, "value": "a"}) == turns(assistant("a"))


def test_content_may_be_parts_of_text() -> None:
    parts = [{"type": "text", "text": "a ", "image": None}, {"type": "text", "text": "b"}]
    assert text_of(parts) == "a b"
    assert messages_of([system(parts)]) == turns(system("a b"))


def test_the_first_message_tells_a_list_of_messages() -> None:
    assert is_messages([user("a"), 7])
    assert is_messages(({"from": "gpt", "value": 1},))
    assert not any(
        map(is_messages, ([], [{}], ["a"], "ab", None, user("a"), [{"role": "user", "value": "a"}]))
    )


def test_a_response_is_text_or_the_last_of_messages() -> None:
    assert any_answer("a") == Answer("a")
    assert any_answer(assistant("a")) == Answer("a", is_message=True)
    assert any_answer([user("q"), assistant("a")]) == Answer("a", turns(user("q")), is_message=True)


def test_a_plain_prompt_is_continued_by_text_and_answered_by_messages() -> None:
    asked = Asked("q", plain=True)
    assert pair_of(asked, Answer("a"), Answer("b"), "row 1").prompt == "q"
    better, worse = (any_answer(assistant(text)) for text in "ab")
    assert pair_of(asked, better, worse, "row 1").prompt == turns(user("q"))
    with pytest.raises(UnusableRowError, match="prompts differ"):
        pair_of(asked, Answer("a"), any_answer(assistant("b")), "row 1")
