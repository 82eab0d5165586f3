"""Short ways to write rows of preference data, and to read them back as examples."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from orpo.data.pairs import Example, Message, Pair, Single
from orpo.data.read import read_examples
from orpo.data.spec import SourceSpec
from orpo.data.table import ExampleTable
from tests.datafiles import write_rows


def user(content: Any) -> dict[str, Any]:
    return {"role": "user", "content": content}


def assistant(content: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": content}


def system(content: Any) -> dict[str, Any]:
    return {"role": "system", "content": content}


def turns(*messages: dict[str, Any]) -> tuple[Message, ...]:
    """Messages as they are read."""
    return tuple(Message(message["role"], message["content"]) for message in messages)


def load(folder: Path, rows: Sequence[dict[str, Any]], **options: Any) -> ExampleTable:
    """The examples of a file with exactly these rows, read with the options of a source."""
    path = write_rows(folder / "rows.jsonl", rows)
    return read_examples([SourceSpec(str(path), **options)], role="train")


def pairs_of(examples: Iterable[Example]) -> list[Pair]:
    """Examples that are all pairs."""
    pairs = list(examples)
    assert all(isinstance(pair, Pair) for pair in pairs)
    return [pair for pair in pairs if isinstance(pair, Pair)]


def singles_of(examples: Iterable[Example]) -> list[Single]:
    """Examples that are all single responses."""
    singles = list(examples)
    assert all(isinstance(single, Single) for single in singles)
    return [single for single in singles if isinstance(single, Single)]


def texts(examples: Iterable[Example]) -> list[tuple[str, str]]:
    """Chosen and rejected text of every pair."""
    return [(pair.chosen, pair.rejected) for pair in pairs_of(examples)]
