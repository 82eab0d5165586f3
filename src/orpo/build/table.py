"""The account of what was built, for a terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from orpo.text import printable

_Line = tuple[int, str]
"""How many, and what."""


def as_table(manifest: Mapping[str, Any], output: Path) -> Group:
    """The manifest as something that a rich console prints; nothing in it is markup."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    for number, what in _lines(manifest):
        table.add_row(str(number), Text(printable(what)))
    return Group(table, Text(f"written to {printable(str(output))}: {', '.join(_files(manifest))}"))


def _lines(manifest: Mapping[str, Any]) -> Iterator[_Line]:
    for source in manifest["sources"]:
        yield source["read"], f"{source['use']}: rows of {source['name']}"
        yield from _dropped(source)
    for use, counts in manifest["cleaning"].items():
        yield counts["read"], f"{use}: examples"
        yield from _dropped(counts)
        yield from ((number, f"  kept: {note}") for note, number in counts["notes"].items())
    for use, split in manifest["splits"].items():
        yield split["pairs"], f"{use}: pairs written"
        near = split["near_duplicate_pairs"]
        if near["count"]:
            yield near["count"], f"  kept: nearly an earlier pair (first: {near['first']})"
        if split["single_responses"]:
            yield split["single_responses"], f"{use}: single responses written"


def _dropped(counts: Mapping[str, Any]) -> Iterator[_Line]:
    for reason, dropped in counts["dropped"].items():
        yield dropped["count"], f"  dropped: {reason} (first: {dropped['first']})"


def _files(manifest: Mapping[str, Any]) -> Iterator[str]:
    yield from manifest["files"]
    yield from ("manifest.json", "README.md")
