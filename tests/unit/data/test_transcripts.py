"""Transcripts of Human and Assistant turns."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.pairs import Message, UnusableRowError
from orpo.data.transcripts import embedded_turns, is_transcript, split_transcript, transcript_turns

SPEAKERS = {"user": "Human", "assistant": "Assistant"}

contents = (
    st.text(st.sampled_from("ab:é\n HumanAssistant"), max_size=30)
    .map(str.strip)
    .filter(lambda text: "\n\nHuman:" not in text and "\n\nAssistant:" not in text)
)
turns = st.lists(
    st.builds(Message, st.sampled_from(["user", "assistant"]), contents), min_size=1, max_size=6
).map(tuple)


def render(history: tuple[Message, ...]) -> str:
    """A transcript that a response can follow."""
    return "".join(f"\n\n{SPEAKERS[turn.role]}: {turn.content}" for turn in history) + "\n\nAssistant:"


@given(turns, contents)
def test_turns_survive_a_transcript(history: tuple[Message, ...], response: str) -> None:
    prompt, rest = split_transcript(f"{render(history)} {response}")
    assert transcript_turns(prompt) == history
    assert rest.strip() == response


@given(turns, contents)
def test_prompt_and_response_are_verbatim_parts_of_the_text(
    history: tuple[Message, ...], response: str
) -> None:
    text = render(history) + response
    prompt, rest = split_transcript(text)
    assert prompt + rest == text
    assert prompt == render(history)


def test_a_stripped_transcript_is_one_too() -> None:
    prompt, response = split_transcript("Human: hi\n\nAssistant: hello")
    assert (prompt, response) == ("Human: hi\n\nAssistant:", " hello")
    assert transcript_turns(prompt) == (Message("user", "hi"),)


def test_empty_turns_and_repeated_speakers_stay() -> None:
    text = "\n\nHuman: \n\nAssistant: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"
    assert transcript_turns(text) == (
        Message("user", ""),
        Message("assistant", "a"),
        Message("assistant", "b"),
        Message("user", "c"),
    )


@pytest.mark.parametrize("text", ["\n\nHuman: a\n\nAssistant: b\n\nHuman: c", "\n\nHuman: a", "plain", ""])
def test_a_last_turn_that_is_not_the_assistants_is_no_response(text: str) -> None:
    with pytest.raises(UnusableRowError, match="last turn is not the assistant's"):
        split_transcript(text)


def test_text_before_the_first_turn_is_not_lost_silently() -> None:
    with pytest.raises(UnusableRowError, match="text before its first turn"):
        transcript_turns("Be kind.\n\nHuman: a\n\nAssistant:")


def test_a_response_alone_has_no_prompt() -> None:
    with pytest.raises(UnusableRowError, match="no turn before the response"):
        transcript_turns("\n\nAssistant:")


def test_text_is_a_transcript_if_the_assistant_speaks_in_it() -> None:
    assert is_transcript("\n\nHuman: a\n\nAssistant: b")
    assert not is_transcript("\n\nHuman: a")
    assert not is_transcript("The Human: and the Assistant: met.")


@given(turns)
def test_turns_before_a_response_are_found_in_a_prompt(history: tuple[Message, ...]) -> None:
    assert embedded_turns(render(history)) == history
    assert embedded_turns(render(history) + " \n") == history


def test_turns_of_helpsteer_are_found_in_a_prompt() -> None:
    prompt = "a\nb\n\n<extra_id_1>Assistant\nc\n<extra_id_1>User\nd\n"
    turns = (Message("user", "a\nb"), Message("assistant", "c"), Message("user", "d"))
    assert embedded_turns(prompt) == turns


@pytest.mark.parametrize(
    "text",
    ["", "q", "What follows \n\nHuman: a\n\nAssistant:", "\n\nHuman: a\n\nAssistant: b", "\n\nHuman: a"],
)
def test_other_text_is_one_turn(text: str) -> None:
    assert embedded_turns(text) is None
