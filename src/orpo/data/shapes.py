"""The shapes that prompts and responses come in (text, messages), and what makes examples of them.

A value is used exactly as it is understood, or its row is refused with a reason: nothing is repaired.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orpo.data.columns import is_blank
from orpo.data.pairs import (
    EMPTY_RESPONSE,
    INVALID_UNICODE,
    Message,
    Pair,
    Prompt,
    Single,
    UnusableRowError,
    is_unicode,
)
from orpo.data.transcripts import NO_PROMPT, NOT_THE_ASSISTANTS

Transcripts = Literal["messages", "text"]
"""What a transcript becomes: messages for a chat template, or the plain text that it is."""

REPEATED_PROMPT = "both responses begin with the prompt column's text, which would be read twice"
RESPONSE_REPEATS_PROMPT = "the response begins with the prompt column's text, which would be read twice"
IDENTICAL = "identical responses"
PROMPTS_DIFFER = "prompts differ before the last turn"
NOT_TEXT = "text that is not a string"
NOT_TEXT_PART = "content with parts other than text"
NOT_MESSAGES = "not a list of {role, content} messages"
UNKNOWN_ROLE = "role other than system, user and assistant"
TOOL_CALLS = "tool calls"
PROMPT_NOT_IN_MESSAGES = "prompt is no turn of the messages"
SYSTEMS_DIFFER = "system column differs from the system turn"

_ALIASES = {
    "system": ("system",),
    "user": ("user", "human", "prompter"),
    "assistant": ("assistant", "gpt", "chatgpt", "bot", "model"),
}
_ROLES = {alias: role for role, aliases in _ALIASES.items() for alias in aliases}
_MESSAGE_KEYS = (("role", "content"), ("from", "value"))


@dataclass(frozen=True)
class Asked:
    """What the responses of a row answer, as far as columns beside the responses tell."""

    prompt: Prompt | None
    """The first turns; or the text of the user's turn, one of several perhaps; None: the responses' own lists
    have all turns."""

    system: str | None = None
    """Text of a system turn that comes before."""

    plain: bool = False
    """Whether a prompt of text is one that the responses continue, rather than the user's turn of a chat."""


@dataclass(frozen=True)
class Answer:
    """A response, after the turns that its own list of messages has before it."""

    text: str
    history: tuple[Message, ...] = ()
    is_message: bool = False
    """Whether it is a turn of a chat, rather than text."""


def is_messages(value: Any) -> bool:
    """Whether a value has the look of a list of messages; only the first one is looked at."""
    return isinstance(value, list | tuple) and len(value) > 0 and is_message(value[0])


def is_message(value: Any) -> bool:
    """Whether a value has the keys of one message."""
    return isinstance(value, Mapping) and any(all(key in value for key in keys) for keys in _MESSAGE_KEYS)


def messages_of(value: Any) -> tuple[Message, ...]:
    """The messages of a list, or of one message alone; roles by any of their usual names.

    Raises:
        UnusableRowError: not messages, or more than text and the three roles.
    """
    if isinstance(value, Mapping):
        value = [value]
    if not isinstance(value, list | tuple) or not value:
        raise UnusableRowError(NOT_MESSAGES)
    return tuple(_message(item) for item in value)


def text_of(value: Any) -> str:
    """A string, or the joined text of content parts (``[{"type": "text", "text": ...}]``).

    Raises:
        UnusableRowError: anything else, images and files among the parts included.
    """
    if isinstance(value, list | tuple) and value:
        return "".join(_part_text(part) for part in value)
    return text_answer(value).text


def text_answer(value: Any) -> Answer:
    """A response that is a string."""
    if not isinstance(value, str):
        raise UnusableRowError(NOT_TEXT)
    return Answer(value)


def messages_answer(value: Any) -> Answer:
    """A response that is the last of some messages, the assistant's."""
    *history, last = messages_of(value)
    if last.role != "assistant":
        raise UnusableRowError(NOT_THE_ASSISTANTS)
    return Answer(last.content, tuple(history), is_message=True)


def any_answer(value: Any) -> Answer:
    """A response that is a string, or the last of some messages."""
    return messages_answer(value) if isinstance(value, Mapping | list | tuple) else text_answer(value)


def answered_prompt(asked: Asked, answer: Answer) -> Prompt:
    """The whole prompt of one response.

    Raises:
        UnusableRowError: columns and messages contradict each other, or there is no turn before the response.
    """
    if asked.plain and isinstance(asked.prompt, str) and not answer.is_message:
        return asked.prompt
    turns = _with_system(_with_prompt(answer.history, asked.prompt), asked.system)
    if not turns:
        raise UnusableRowError(NO_PROMPT)
    return turns


def pair_of(asked: Asked, better: Answer, worse: Answer, where: str) -> Pair:
    """The pair of two responses to the same prompt.

    Raises:
        UnusableRowError: the prompts differ, or it is no pair to learn from.
    """
    prompt = answered_prompt(asked, better)
    if answered_prompt(asked, worse) != prompt:
        raise UnusableRowError(PROMPTS_DIFFER)
    if _all_begin_with(prompt, better, worse):
        raise UnusableRowError(REPEATED_PROMPT)
    return make_pair(prompt, better.text, worse.text, where)


def make_pair(prompt: Prompt, chosen: str, rejected: str, where: str) -> Pair:
    """A pair that has something to teach.

    Raises:
        UnusableRowError: a response is empty, both are the same, or there is text that no file can hold.
    """
    _require_text(prompt, chosen, rejected)
    if chosen == rejected:
        raise UnusableRowError(IDENTICAL)
    return Pair(prompt, chosen, rejected, where)


def single_of(asked: Asked, answer: Answer, where: str) -> Single:
    """A response to imitate.

    Raises:
        UnusableRowError: see `answered_prompt` and `make_single`; or the response repeats the prompt.
    """
    prompt = answered_prompt(asked, answer)
    if _all_begin_with(prompt, answer):
        raise UnusableRowError(RESPONSE_REPEATS_PROMPT)
    return make_single(prompt, answer.text, where, is_desirable=True)


def make_single(prompt: Prompt, response: str, where: str, *, is_desirable: bool) -> Single:
    """A single response that has something to teach.

    Raises:
        UnusableRowError: it is empty, or there is text that no file can hold.
    """
    _require_text(prompt, response)
    return Single(prompt, response, is_desirable, where)


def _require_text(prompt: Prompt, *responses: str) -> None:
    if not all(response.strip() for response in responses):
        raise UnusableRowError(EMPTY_RESPONSE)
    turns = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    if not all(map(is_unicode, [*turns, *responses])):
        raise UnusableRowError(INVALID_UNICODE)


def _all_begin_with(prompt: Prompt, *answers: Answer) -> bool:
    """Whether the text of a prompt is repeated, rather than continued."""
    return (
        isinstance(prompt, str)
        and prompt.strip() != ""
        and all(answer.text.startswith(prompt) for answer in answers)
    )


def _message(item: Any) -> Message:
    if not isinstance(item, Mapping):
        raise UnusableRowError(NOT_MESSAGES)
    for role_key, content_key in _MESSAGE_KEYS:
        if role_key in item and content_key in item:
            break
    else:
        raise UnusableRowError(NOT_MESSAGES)
    if not is_blank(item.get("tool_calls")):
        raise UnusableRowError(TOOL_CALLS)
    role = item[role_key]
    if not isinstance(role, str) or role.lower() not in _ROLES:
        raise UnusableRowError(UNKNOWN_ROLE)
    return Message(_ROLES[role.lower()], text_of(item[content_key]))


def _part_text(part: Any) -> str:
    if not isinstance(part, Mapping):
        raise UnusableRowError(NOT_TEXT)
    if part.get("type") != "text":
        raise UnusableRowError(NOT_TEXT_PART)
    return text_answer(part.get("text")).text


def _with_prompt(history: tuple[Message, ...], prompt: Prompt | None) -> tuple[Message, ...]:
    """The turns before a response: those of its own list and those of the prompt, each once."""
    if prompt is None:
        return history
    if isinstance(prompt, str):
        return _with_text(history, prompt)
    if history[: len(prompt)] == prompt:
        return history
    if prompt[len(prompt) - len(history) :] == history:
        return prompt
    if history[0].role == "assistant":
        return prompt + history
    if history[0].role == "system" and prompt[0].role != "system":
        return (history[0], *_with_prompt(history[1:], prompt))
    raise UnusableRowError(PROMPT_NOT_IN_MESSAGES)


def _with_text(history: tuple[Message, ...], prompt: str) -> tuple[Message, ...]:
    """The turns before a response, with the text of one of the user's turns in a column of its own."""
    asked = [turn.content.strip() for turn in history if turn.role == "user"]
    if prompt.strip() in asked:
        return history
    if asked:
        raise UnusableRowError(PROMPT_NOT_IN_MESSAGES)
    systems = sum(turn.role == "system" for turn in history[:1])
    return (*history[:systems], Message("user", prompt), *history[systems:])


def _with_system(turns: tuple[Message, ...], system: str | None) -> tuple[Message, ...]:
    if system is None:
        return turns
    if not turns or turns[0].role != "system":
        return (Message("system", system), *turns)
    if turns[0].content.strip() != system.strip():
        raise UnusableRowError(SYSTEMS_DIFFER)
    return turns
