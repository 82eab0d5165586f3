"""Rows that hold a chosen and a rejected response."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from orpo.data.columns import is_blank, label_of, spells_messages
from orpo.data.pairs import Example, Pair, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas.base import (
    TIE,
    Adapted,
    Schema,
    Settings,
    Values,
    examples_by_row,
    has,
    only,
    present,
)
from orpo.data.schemas.context import Context, is_conversation
from orpo.data.shapes import (
    PROMPTS_DIFFER,
    Answer,
    any_answer,
    is_message,
    is_messages,
    make_pair,
    messages_answer,
    pair_of,
    text_answer,
)
from orpo.data.transcripts import is_transcript, split_transcript, transcript_turns

NOT_TWO_OUTPUTS = "output is no list of two responses"


@dataclass(frozen=True)
class Paired:
    """Two columns with a response each."""

    context: Context
    chosen: str = "chosen"
    rejected: str = "rejected"
    answer: Callable[[Any], Answer] = any_answer
    """Reads a response; raises UnusableRowError."""

    status: str | None = None
    """A column that says `tie` where neither is better."""

    options: frozenset[str] = frozenset()
    joins_rows: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Layout`."""
        status = () if self.status is None else (self.status,)
        return (*self.context.columns, self.chosen, self.rejected, *status)

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`."""
        return examples_by_row(rows, counts, self._read)

    def _read(self, row: Row) -> list[Pair]:
        if self.status is not None and label_of(row.values.get(self.status)) == TIE:
            raise UnusableRowError(TIE)
        better, worse = (self.answer(present(row.values, name)) for name in (self.chosen, self.rejected))
        return [pair_of(self.context.read(row.values), better, worse, row.where)]


@dataclass(frozen=True)
class Transcribed:
    """Two columns with a whole transcript each, the prompt in both."""

    columns: tuple[str, ...] = ("chosen", "rejected")
    options: frozenset[str] = frozenset()
    joins_rows: bool = False

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`."""
        return examples_by_row(rows, counts, lambda row: [_from_transcripts(row, settings)])


def _from_transcripts(row: Row, settings: Settings) -> Pair:
    texts = (text_answer(present(row.values, name)).text for name in ("chosen", "rejected"))
    (prompt, chosen), (other_prompt, rejected) = map(split_transcript, texts)
    if prompt != other_prompt:
        raise UnusableRowError(PROMPTS_DIFFER)
    if settings.transcripts == "text":
        return make_pair(prompt, chosen, rejected, row.where)
    return make_pair(transcript_turns(prompt), chosen.strip(), rejected.strip(), row.where)


def _ranked_outputs(values: Values) -> dict[str, Any]:
    """Alpaca's form of a pair: the better response first."""
    match values.get("output"):
        case [chosen, rejected]:
            return {**values, "chosen": chosen, "rejected": rejected}
        case _:
            raise UnusableRowError(NOT_TWO_OUTPUTS)


def _are_texts(values: Values) -> bool:
    responses = (values.get("chosen"), values.get("rejected"))
    return all(isinstance(text, str) and not spells_messages(text) for text in responses)


def _are_messages(values: Values) -> bool:
    return all(
        is_messages(values.get(name)) or is_message(values.get(name)) for name in ("chosen", "rejected")
    )


def _are_answers(values: Values) -> bool:
    return _are_texts(values) or _are_messages(values)


def _is_capybara(values: Values) -> bool:
    return _are_messages(values) and is_conversation(values.get("conversation"))


def _are_transcripts(values: Values) -> bool:
    responses = (values.get("chosen"), values.get("rejected"))
    return is_blank(values.get("prompt")) and all(
        isinstance(text, str) and is_transcript(text) for text in responses
    )


def _are_strings(values: Values) -> bool:
    return isinstance(values.get("prompt"), str) and "system" not in values and _are_texts(values)


def _is_two_outputs(values: Values) -> bool:
    outputs = values.get("output")
    return (
        isinstance(values.get("instruction"), str)
        and isinstance(outputs, list | tuple)
        and len(outputs) == 2
        and all(isinstance(text, str) for text in outputs)
    )


def _with(prompt: str, fits: Callable[[Values], bool]) -> Callable[[Values], bool]:
    """A test for rows whose prompt is in this column: text or messages."""
    return lambda values: (
        (isinstance(values.get(prompt), str) or is_messages(values.get(prompt))) and fits(values)
    )


_ORCA_TIES = has("system", "input", "status")

PAIRED = (
    Schema(
        "Capybara",
        "`chosen` and `rejected` after the `conversation`",
        _is_capybara,
        only(Paired(Context(conversation="conversation"), answer=messages_answer)),
    ),
    Schema(
        "distilabel Orca pairs",
        "`chosen` and `rejected`, ties in `status`",
        lambda values: _ORCA_TIES(values) and _are_texts(values),
        only(Paired(Context("input", system="system"), answer=text_answer, status="status")),
    ),
    Schema(
        "ShareGPT pairs",
        "`chosen` and `rejected` after `conversations`",
        _with("conversations", _are_answers),
        only(Paired(Context("conversations", system="system"))),
    ),
    Schema(
        "messages",
        "`chosen` and `rejected` are conversations",
        _are_messages,
        only(Paired(Context("prompt", system="system"), answer=messages_answer)),
    ),
    Schema(
        "strings",
        "`chosen` and `rejected` continue the text of `prompt`",
        _are_strings,
        only(Paired(Context("prompt", plain=True), answer=text_answer)),
    ),
    Schema(
        "transcripts",
        "`chosen` and `rejected` are '\\n\\nHuman: … \\n\\nAssistant: …'",
        _are_transcripts,
        only(Transcribed()),
    ),
    *(
        Schema(
            name,
            f"`chosen` and `rejected` answer `{prompt}`",
            _with(prompt, _are_texts),
            only(Paired(Context(prompt, system="system", input=more, history="history"), answer=text_answer)),
        )
        for name, prompt, more in (
            ("Alpaca pairs", "instruction", "input"),
            ("Orca pairs", "question", None),
            ("Orca pairs", "input", None),
            ("answers to messages", "messages", None),
            ("answers to prompts", "prompt", None),
        )
    ),
    Schema(
        "Alpaca ranking",
        "the better `output` first",
        _is_two_outputs,
        only(
            Adapted(
                ("system", "history", "instruction", "input", "output"),
                _ranked_outputs,
                Paired(
                    Context("instruction", system="system", input="input", history="history"),
                    answer=text_answer,
                ),
            )
        ),
    ),
)
"""Schemas of rows with a chosen and a rejected response, the more special ones first."""
