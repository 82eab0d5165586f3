"""Short ways to write items."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orpo.build.provenance import Item
from orpo.build.request import Portion
from orpo.data import Single, SourceSpec
from orpo.data.pairs import Prompt
from tests.conversations import pair


def item(prompt: Prompt, chosen: str = "a", rejected: str = "b", where: str = "f:1") -> Item:
    """An item of a pair."""
    return Item(pair(prompt, chosen, rejected, where), "f")


def single(prompt: Prompt, response: str, where: str = "f:1") -> Item:
    """An item of a single response."""
    return Item(Single(prompt, response, is_desirable=True, where=where), "f")


def places(items: list[Item]) -> list[str]:
    """Where the items are from."""
    return [one.example.where for one in items]


def portion(path: Path, **options: Any) -> Portion:
    """All of a file."""
    return Portion(SourceSpec(str(path), **options))
