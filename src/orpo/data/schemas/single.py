"""Rows that hold one response to imitate, and nothing to compare it with: data of supervised fine-tuning."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orpo.data.columns import spells_messages
from orpo.data.names import RESPONSE_NAMES, rivals
from orpo.data.pairs import Example, RowCounts, Single, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas.base import Adapted, Schema, Settings, Values, examples_by_row, only, present
from orpo.data.schemas.context import Context
from orpo.data.shapes import Answer, any_answer, is_message, is_messages, messages_of, single_of, text_answer

HAS_RIVALS = "columns beside the response that may hold another one, or a judgement"


@dataclass(frozen=True)
class Answered:
    """A column with the only response."""

    context: Context
    response: str
    answer: Callable[[Any], Answer] = any_answer
    """Reads the response; raises UnusableRowError."""

    options: frozenset[str] = frozenset()
    joins_rows: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (*self.context.columns, self.response)

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`."""
        return examples_by_row(rows, counts, self._read)

    def _read(self, row: Row) -> list[Single]:
        answer = self.answer(present(row.values, self.response))
        return [single_of(self.context.read(row.values), answer, row.where)]


def _schema(name: str, form: str, layout: Answered, fits: Callable[[Values], bool]) -> Schema:
    """A schema of rows that fit, and of which no other column may hold a response or a judgement."""

    def unrivalled(values: Values) -> dict[str, Any]:
        if _has_rivals(values, layout.columns):
            raise UnusableRowError(HAS_RIVALS)
        return dict(values)

    return Schema(
        name,
        form,
        lambda values: fits(values) and not _has_rivals(values, layout.columns),
        only(Adapted(layout.columns, unrivalled, layout)),
    )


def _has_rivals(values: Values, read: Collection[str]) -> bool:
    return next(rivals(values, read), None) is not None


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and not spells_messages(value)


def _is_answer(value: Any) -> bool:
    return _is_text(value) or is_messages(value) or is_message(value)


def _is_answered(value: Any) -> bool:
    """Whether a value is a conversation that ends with the assistant's turn."""
    if not is_messages(value):
        return False
    try:
        return messages_of(value[-1])[0].role == "assistant"
    except UnusableRowError:
        return False


def _prompted(response: str, *, system: bool) -> Callable[[Values], bool]:
    def fits(values: Values) -> bool:
        prompt = values.get("prompt")
        is_prompt = isinstance(prompt, str) or is_messages(prompt)
        return is_prompt and ("system" in values) == system and _is_answer(values.get(response))

    return fits


def _are_texts(values: Values, *columns: str) -> bool:
    return all(_is_text(values.get(column)) for column in columns)


SINGLE = (
    _schema(
        "Alpaca",
        "`output` answers `instruction`",
        Answered(
            Context("instruction", system="system", input="input", history="history"),
            "output",
            answer=text_answer,
        ),
        lambda values: _are_texts(values, "instruction", "output"),
    ),
    *(
        _schema(
            "single responses",
            f"`{response}` after a `system` turn and a `prompt`",
            Answered(Context("prompt", system="system"), response),
            _prompted(response, system=True),
        )
        for response in RESPONSE_NAMES
    ),
    *(
        _schema(
            "single responses",
            f"`{response}` continues the text of `prompt`, or answers its messages",
            Answered(Context("prompt", plain=True), response),
            _prompted(response, system=False),
        )
        for response in RESPONSE_NAMES
    ),
    _schema(
        "OpenOrca",
        "`response` answers `question` after `system_prompt`",
        Answered(Context("question", system="system_prompt"), "response", answer=text_answer),
        lambda values: "system_prompt" in values and _are_texts(values, "question", "response"),
    ),
    *(
        _schema(
            "questions and answers",
            f"`{response}` answers `question`",
            Answered(Context("question", system="system"), response, answer=text_answer),
            lambda values, response=response: _are_texts(values, "question", response),
        )
        for response in ("answer", "response")
    ),
    *(
        _schema(
            "conversations",
            f"`{messages}` that end with the response",
            Answered(Context(system="system"), messages),
            lambda values, messages=messages: _is_answered(values.get(messages)),
        )
        for messages in ("messages", "conversations")
    ),
)
"""Schemas of rows with one response and no label: a row that any other schema fits is none of them."""
