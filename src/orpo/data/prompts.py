"""Prompts to generate responses to, from a file of their own."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orpo.data.columns import column_names, is_blank
from orpo.data.pairs import INVALID_UNICODE, Message, Prompt, RowCounts, UnusableRowError, is_unicode
from orpo.data.rows import read_rows
from orpo.data.schemas.context import Context
from orpo.data.shapes import Answer, Asked, answered_prompt, messages_of
from orpo.errors import DataError
from orpo.text import printable

log = logging.getLogger(__name__)

_CONTEXTS = {
    "instruction": Context("instruction", system="system", input="input"),
    "prompt": Context("prompt", system="system"),
}
"""By the column that holds the prompt where there are no messages; the first one that there is."""

ANSWER_LEFT_OFF = "the assistant's last turn left off"
NOT_THE_USERS = "what is answered is not the user's turn"


@dataclass(frozen=True)
class PromptRow:
    """A prompt of a file."""

    prompt: Prompt
    dataset: str | None = None
    """What AlpacaEval's files call the set that it is from."""

    @property
    def instruction(self) -> str:
        """What the user says last."""
        return self.prompt if isinstance(self.prompt, str) else self.prompt[-1].content


def read_prompts(path: Path) -> tuple[list[PromptRow], RowCounts]:
    """The prompts of a file: `messages`, or text in `instruction` (and `input`) or `prompt`.

    A text is taken as it is; whether it is a user's turn is for the reader's template to say.

    Raises:
        DataError: the file cannot be read, has no such column, or no usable row.
    """
    rows = list(read_rows(path))
    names = column_names(rows)
    column = next((name for name in ("messages", *_CONTEXTS) if name in names), None)
    if column is None:
        raise DataError(
            f"{path}: there is no column with prompts; there are {printable(', '.join(names), 200)}",
            hint="Expected `messages`, `instruction` or `prompt`.",
        )
    counts, prompts = RowCounts(), list[PromptRow]()
    for row in rows:
        counts.read += 1
        try:
            prompts.append(_read(row.values, column, counts))
        except UnusableRowError as unusable:
            counts.drop(unusable.reason, row.where)
        else:
            counts.kept += 1
    if not prompts:
        reasons = "; ".join(f"{number} {reason}" for reason, number in counts.dropped.most_common())
        raise DataError(f"{path}: not one of {counts.read} rows has a usable prompt: {reasons}")
    return prompts, counts


def _read(values: Mapping[str, Any], column: str, counts: RowCounts) -> PromptRow:
    if is_blank(values.get(column)):
        raise UnusableRowError(f"no value for `{column}`")
    asked = _CONTEXTS[column].read(values) if column in _CONTEXTS else Asked(messages_of(values[column]))
    prompt = asked.prompt
    if not isinstance(prompt, str) or asked.system is not None:
        prompt = _open(answered_prompt(asked, Answer("", is_message=True)), counts)
    turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
    if not all(is_unicode(turn.content) for turn in turns):
        raise UnusableRowError(INVALID_UNICODE)
    dataset = values.get("dataset")
    return PromptRow(prompt, dataset if isinstance(dataset, str) else None)


def _open(turns: Prompt, counts: RowCounts) -> tuple[Message, ...]:
    """The turns up to the user's last one, as data of supervised fine-tuning has more."""
    assert not isinstance(turns, str)
    is_answered = turns[-1].role == "assistant"
    asked = turns[:-1] if is_answered else turns
    if not asked or asked[-1].role != "user":
        raise UnusableRowError(NOT_THE_USERS)
    counts.notes[ANSWER_LEFT_OFF] += is_answered
    return asked
