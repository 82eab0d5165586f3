"""The rows that are written, in the forms that TRL calls standard and conversational.

prompt       text, or a list of {role, content}
chosen       text that continues the prompt, or a list of one {role, content}
rejected     the same; single responses have `completion` in place of these two
id           hash of the three: the same wherever and whenever the row is built
source       the source that it is from
where        its place there, such as `train.jsonl:17`
weight       only where any example of the data has another one than 1
margin       of pairs, only where any pair of the data has another one than 0
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from orpo.build.provenance import Item
from orpo.data import Example, Message, Pair
from orpo.data.pairs import Prompt
from orpo.errors import DataError

_ID_BYTES = 16
_MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))


@dataclass(frozen=True)
class Numbers:
    """Which numbers the rows of a data set have."""

    weight: bool = False
    margin: bool = False

    @classmethod
    def of(cls, items: Iterable[Item]) -> Numbers:
        """Those that any of the examples has another value of than the usual one."""
        examples = [item.example for item in items]
        return cls(
            weight=any(example.weight != 1 for example in examples),
            margin=any(isinstance(example, Pair) and example.margin != 0 for example in examples),
        )


def row_of(item: Item, numbers: Numbers) -> dict[str, Any]:
    """One row.

    Args:
        item: an example, and where it is from.
        numbers: those that rows have.
    """
    example = item.example
    content = _content(example)
    row = {**content, "id": _identity(content), "source": item.source, "where": example.where}
    if numbers.weight:
        row["weight"] = example.weight
    if numbers.margin and isinstance(example, Pair):
        row["margin"] = example.margin
    return row


def arrow_schema(row: dict[str, Any]) -> pa.Schema:
    """The schema of a file whose rows are like this one."""
    return pa.schema([(name, _type(value)) for name, value in row.items()])


def require_one_form(items: Iterable[Item]) -> None:
    """Refuse chats beside plain text, since a column of a file has one type.

    Raises:
        DataError: naming one row of each.
    """
    places: dict[bool, str] = {}
    for item in items:
        places.setdefault(isinstance(item.example.prompt, str), item.example.where)
    if len(places) > 1:
        raise DataError(
            f"chats and plain text cannot be rows of one file: {places[False]} is a chat, {places[True]} is "
            "plain text",
            hint="Build them apart, each with its own --output; or read the text as chats, with a config "
            "that says `columns: {messages: …}` (docs/data.md).",
        )


def _content(example: Example) -> dict[str, Any]:
    def turn(text: str) -> str | list[dict[str, str]]:
        return text if isinstance(example.prompt, str) else _turns([Message("assistant", text)])

    prompt = _prompt(example.prompt)
    if isinstance(example, Pair):
        return {"prompt": prompt, "chosen": turn(example.chosen), "rejected": turn(example.rejected)}
    assert example.is_desirable, "the reader was not asked for undesirable responses"
    return {"prompt": prompt, "completion": turn(example.response)}


def _prompt(prompt: Prompt) -> str | list[dict[str, str]]:
    return prompt if isinstance(prompt, str) else _turns(prompt)


def _turns(messages: Sequence[Message]) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _identity(content: dict[str, Any]) -> str:
    return hashlib.blake2b(json.dumps(content).encode(), digest_size=_ID_BYTES).hexdigest()


def _type(value: Any) -> pa.DataType:
    match value:
        case float():
            return pa.float64()
        case str():
            return pa.string()
        case _:
            return _MESSAGES
