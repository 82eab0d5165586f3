"""Columns of what is answered: prompt, system turn, earlier turns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orpo.data.columns import is_blank
from orpo.data.pairs import Message, Prompt, UnusableRowError
from orpo.data.schemas.base import Values, present
from orpo.data.shapes import Asked, messages_of, text_of
from orpo.data.transcripts import embedded_turns

NOT_EXCHANGES = "earlier turns that are no list of questions and answers"


@dataclass(frozen=True)
class Context:
    """The columns of what the responses of a row answer; those without a name are not there."""

    prompt: str | None = None
    """Text, or a list of messages.  A row without a value has its prompt in its responses' own lists."""

    system: str | None = None
    """Text of the system turn; a row without a value has none."""

    input: str | None = None
    """Text that belongs below the prompt, as in Alpaca's data."""

    history: str | None = None
    """Turns before the prompt, as a list of [question, answer]."""

    conversation: str | None = None
    """In place of the prompt: the whole conversation as a list of {input, output}, of which the last output
    is what the responses take the place of."""

    plain: bool = False
    """Whether a prompt of text stays plain, for the responses to continue; it may be empty then."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        names = (self.system, self.history, self.conversation, self.prompt, self.input)
        return tuple(name for name in names if name is not None)

    def read(self, values: Values) -> Asked:
        """What a row's responses answer.

        Raises:
            UnusableRowError: a value is not of the kind that is expected.
        """
        system = values.get(self.system) if self.system is not None else None
        return Asked(
            prompt=self._prompt(values),
            system=None if is_blank(system) else text_of(system),
            plain=self.plain,
        )

    def _prompt(self, values: Values) -> Prompt | None:
        if self.conversation is not None:
            return _unanswered(present(values, self.conversation))
        if self.prompt is None:
            return None
        if self.plain:
            value = present(values, self.prompt)
            return value if isinstance(value, str) else messages_of(value)
        value = values.get(self.prompt)
        if not is_blank(value) and not isinstance(value, str):
            return messages_of(value)
        more = values.get(self.input) if self.input is not None else None
        text = "\n\n".join(text_of(part) for part in (value, more) if not is_blank(part))
        if not text:
            return None
        earlier = values.get(self.history) if self.history is not None else None
        if is_blank(earlier):
            return embedded_turns(text) or text
        return (*_exchanges(_listed(earlier)), Message("user", text))


def is_conversation(value: Any) -> bool:
    """Whether a value has the look of a list of {input, output}."""
    return (
        isinstance(value, list | tuple)
        and len(value) > 0
        and isinstance(value[0], Mapping)
        and "input" in value[0]
        and "output" in value[0]
    )


def _unanswered(value: Any) -> tuple[Message, ...]:
    """The turns of a list of {input, output} without the last output."""
    *earlier, last = _listed(value)
    match last:
        case {"input": str(question)}:
            return (*_exchanges(earlier), Message("user", question))
        case _:
            raise UnusableRowError(NOT_EXCHANGES)


def _exchanges(value: Any) -> tuple[Message, ...]:
    """The turns of a list of questions and answers."""
    return tuple(turn for exchange in value for turn in _exchange(exchange))


def _exchange(value: Any) -> tuple[Message, Message]:
    match value:
        case {"input": str(question), "output": str(answer)} | [str(question), str(answer)]:
            return Message("user", question), Message("assistant", answer)
        case _:
            raise UnusableRowError(NOT_EXCHANGES)


def _listed(value: Any) -> list[Any] | tuple[Any, ...]:
    if not isinstance(value, list | tuple) or not value:
        raise UnusableRowError(NOT_EXCHANGES)
    return value
