"""The three shapes that preference rows come in, told apart by their columns, and read into pairs.

A row is used exactly as it is understood, or refused with a reason: nothing is repaired.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Literal

from orpo.data.columns import column_types, is_missing, spells_messages
from orpo.data.mapping import mapping_hint
from orpo.data.pairs import (
    EMPTY_RESPONSE,
    INVALID_UNICODE,
    Message,
    Pair,
    Prompt,
    UnusableRowError,
    is_unicode,
)
from orpo.data.rows import Row
from orpo.data.spec import SourceSpec
from orpo.data.transcripts import (
    NO_PROMPT,
    NOT_THE_ASSISTANTS,
    is_transcript,
    split_transcript,
    transcript_turns,
)
from orpo.errors import DataError

Transcripts = Literal["messages", "text"]
"""What a transcript becomes: messages for a chat template, or the plain text that it is."""

REPEATED_PROMPT = "both responses begin with the prompt column's text, which would be read twice"
IDENTICAL = "identical responses"
PROMPTS_DIFFER = "prompts differ before the last turn"
NOT_TEXT = "text that is not a string"
NOT_MESSAGES = "not a list of {role, content} messages"
UNKNOWN_ROLE = "role other than system, user and assistant"
TOOL_CALLS = "tool calls"
PROMPT_NOT_IN_MESSAGES = "prompt is no turn of the messages"

_ROLES = ("system", "user", "assistant")


class Shape(Enum):
    """How the rows of a source hold a pair."""

    STRINGS = "strings"
    MESSAGES = "messages"
    TRANSCRIPTS = "transcripts"

    @property
    def description(self) -> str:
        """One line for people."""
        return _DESCRIPTIONS[self]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        return ("chosen", "rejected") if self is Shape.TRANSCRIPTS else ("prompt", "chosen", "rejected")


_DESCRIPTIONS = {
    Shape.STRINGS: "`prompt`, `chosen`, `rejected`: strings; the responses continue the prompt",
    Shape.MESSAGES: "`chosen`, `rejected`: lists of {role, content} messages, with or without the prompt's; "
    "`prompt`: absent, such a list, or the user's text",
    Shape.TRANSCRIPTS: "`chosen`, `rejected`: transcripts of '\\n\\nHuman:' and '\\n\\nAssistant:' turns",
}


def detect_shape(rows: Sequence[Row], name: str, spec: SourceSpec | None) -> Shape:
    """The shape that most of `rows` have.

    Args:
        rows: the first rows of the source.
        name: its name, for messages.
        spec: what was opened; None for rows in memory.

    Raises:
        DataError: none of the rows has a known shape.
    """
    votes = Counter(shape for shape in (_shape_of(row.values) for row in rows) if shape is not None)
    if votes:
        return votes.most_common(1)[0][0]
    found = column_types(rows)
    width = max(map(len, found), default=0)
    raise DataError(
        "\n".join(
            [
                f"{name}: the columns do not make preference pairs. Found in the first {len(rows)} rows:",
                *(f"  {column:{width}}  {types}" for column, types in found.items()),
                "Expected one of:",
                *(f"  {shape.description}" for shape in Shape),
            ]
        ),
        hint=mapping_hint(rows, spec),
    )


def read_pair(row: Row, shape: Shape, transcripts: Transcripts) -> Pair:
    """The pair in a row.

    Raises:
        UnusableRowError: the row is not of this shape, or not a pair to learn from.
    """
    match shape:
        case Shape.STRINGS:
            prompt, chosen, rejected = (_text(row, name) for name in ("prompt", "chosen", "rejected"))
            if prompt.strip() and chosen.startswith(prompt) and rejected.startswith(prompt):
                raise UnusableRowError(REPEATED_PROMPT)
        case Shape.MESSAGES:
            prompt, chosen, rejected = _from_messages(row)
        case Shape.TRANSCRIPTS:
            prompt, chosen, rejected = _from_transcripts(row, transcripts)
    if not chosen.strip() or not rejected.strip():
        raise UnusableRowError(EMPTY_RESPONSE)
    if chosen == rejected:
        raise UnusableRowError(IDENTICAL)
    turns = [prompt] if isinstance(prompt, str) else [turn.content for turn in prompt]
    if not is_unicode("".join([*turns, chosen, rejected])):
        raise UnusableRowError(INVALID_UNICODE)
    return Pair(prompt, chosen, rejected, row.where)


def _shape_of(values: Mapping[str, Any]) -> Shape | None:
    prompt, chosen, rejected = (values.get(name) for name in ("prompt", "chosen", "rejected"))
    if _are_messages(chosen) and _are_messages(rejected):
        return Shape.MESSAGES
    if not isinstance(chosen, str) or not isinstance(rejected, str):
        return None
    if isinstance(prompt, str):
        return None if spells_messages(chosen) or spells_messages(rejected) else Shape.STRINGS
    return Shape.TRANSCRIPTS if is_transcript(chosen) and is_transcript(rejected) else None


def _are_messages(value: Any) -> bool:
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and isinstance(value[0], Mapping)
        and {"role", "content"} <= value[0].keys()
    )


def _from_transcripts(row: Row, transcripts: Transcripts) -> tuple[Prompt, str, str]:
    prompt, chosen = split_transcript(_text(row, "chosen"))
    other_prompt, rejected = split_transcript(_text(row, "rejected"))
    if prompt != other_prompt:
        raise UnusableRowError(PROMPTS_DIFFER)
    if transcripts == "text":
        return prompt, chosen, rejected
    return transcript_turns(prompt), chosen.strip(), rejected.strip()


def _from_messages(row: Row) -> tuple[tuple[Message, ...], str, str]:
    chosen, rejected = (_messages(_present(row, name)) for name in ("chosen", "rejected"))
    if chosen[-1].role != "assistant" or rejected[-1].role != "assistant":
        raise UnusableRowError(NOT_THE_ASSISTANTS)
    prompt = _given_prompt(row)
    history, other_history = (_with_prompt(turns[:-1], prompt) for turns in (chosen, rejected))
    if history != other_history:
        raise UnusableRowError(PROMPTS_DIFFER)
    if not history:
        raise UnusableRowError(NO_PROMPT)
    return history, chosen[-1].content, rejected[-1].content


def _given_prompt(row: Row) -> Prompt | None:
    """The prompt column, None where it is absent or empty."""
    prompt = row.values.get("prompt")
    if is_missing(prompt) or prompt == [] or (isinstance(prompt, str) and not prompt.strip()):
        return None
    return prompt if isinstance(prompt, str) else _messages(prompt)


def _with_prompt(history: tuple[Message, ...], prompt: Prompt | None) -> tuple[Message, ...]:
    """The whole conversation before a response.

    Args:
        history: the turns before the response in its own list: all of them, or only those after the prompt.
        prompt: the prompt column: the first turns; or the text of the user's turn, one of several perhaps;
            or nothing, where `history` has all.
    """
    if prompt is None:
        return history
    if isinstance(prompt, str):
        asked = [turn.content.strip() for turn in history if turn.role == "user"]
        if not asked:
            systems = sum(turn.role == "system" for turn in history[:1])
            return (*history[:systems], Message("user", prompt), *history[systems:])
        if prompt.strip() in asked:
            return history
    else:
        if history[: len(prompt)] == prompt:
            return history
        if not history or history[0].role == "assistant":
            return prompt + history
    raise UnusableRowError(PROMPT_NOT_IN_MESSAGES)


def _messages(value: Any) -> tuple[Message, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise UnusableRowError(NOT_MESSAGES)
    return tuple(_message(item) for item in value)


def _message(item: Any) -> Message:
    if not isinstance(item, Mapping) or "role" not in item or "content" not in item:
        raise UnusableRowError(NOT_MESSAGES)
    if item.get("tool_calls"):
        raise UnusableRowError(TOOL_CALLS)
    if item["role"] not in _ROLES:
        raise UnusableRowError(UNKNOWN_ROLE)
    if not isinstance(item["content"], str):
        raise UnusableRowError(NOT_TEXT)
    return Message(item["role"], item["content"])


def _text(row: Row, column: str) -> str:
    value = _present(row, column)
    if not isinstance(value, str):
        raise UnusableRowError(NOT_TEXT)
    return value


def _present(row: Row, column: str) -> Any:
    value = row.values.get(column)
    if is_missing(value):
        raise UnusableRowError(f"no value for `{column}`")
    return value
