"""What responses answer, from whichever columns hold it."""

from __future__ import annotations

from typing import Any

import pytest

from orpo.data.pairs import UnusableRowError
from orpo.data.schemas.context import Context, is_conversation
from orpo.data.shapes import Asked
from tests.preferences import assistant, system, turns, user

FULL = Context("prompt", system="system", input="input", history="history")


@pytest.mark.parametrize(
    ("values", "asked"),
    [
        ({}, Asked(None)),
        ({"prompt": " \n", "system": ""}, Asked(None)),
        ({"prompt": "q", "system": "s"}, Asked("q", "s")),
        ({"prompt": "q", "input": "more", "history": None}, Asked("q\n\nmore")),
        ({"prompt": " ", "input": "all"}, Asked("all")),
        ({"prompt": "q", "history": [["a", "b"]]}, Asked(turns(user("a"), assistant("b"), user("q")))),
        ({"prompt": [system("s"), user("q")]}, Asked(turns(system("s"), user("q")))),
        (
            {"prompt": "\n\nHuman: a\n\nAssistant: b\n\nHuman: q\n\nAssistant:"},
            Asked(turns(user("a"), assistant("b"), user("q"))),
        ),
    ],
)
def test_columns_become_what_is_asked(values: dict[str, Any], asked: Asked) -> None:
    assert FULL.read(values) == asked


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"prompt": 7}, "not a list of"),
        ({"prompt": "q", "system": 7}, "text that is not a string"),
        ({"prompt": "q", "input": 7}, "text that is not a string"),
        ({"prompt": "q", "history": [["a", "b", "c"]]}, "no list of questions and answers"),
        ({"prompt": "q", "history": {"a": "b"}}, "no list of questions and answers"),
    ],
)
def test_columns_of_other_kinds_are_refused(values: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnusableRowError, match=reason):
        FULL.read(values)


def test_a_plain_prompt_stays_as_it_is_and_may_be_empty_but_not_missing() -> None:
    plain = Context("prompt", plain=True)
    text = "\n\nHuman: q\n\nAssistant:"
    assert plain.read({"prompt": text}) == Asked(text, plain=True)
    assert plain.read({"prompt": ""}) == Asked("", plain=True)
    with pytest.raises(UnusableRowError, match="no value for `prompt`"):
        plain.read({"prompt": None})


def test_the_columns_are_those_that_are_read() -> None:
    assert FULL.columns == ("system", "history", "prompt", "input")
    assert Context(conversation="c").columns == ("c",)
    assert Context().columns == ()


def test_a_conversation_is_a_list_of_inputs_and_outputs() -> None:
    assert is_conversation([{"input": "a", "output": None, "id": 1}])
    assert not any(map(is_conversation, ([], [{}], [{"input": "a"}], "ab", None, {"input": 1, "output": 2})))
