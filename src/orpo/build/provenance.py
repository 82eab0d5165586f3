"""Where each example is from, in names that can be published: paths may tell who worked where."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from orpo.data import Example


@dataclass(frozen=True)
class Item:
    """An example and the name of its source."""

    example: Example
    source: str


def public_names(paths: Sequence[str]) -> list[str]:
    """The last parts of local paths, as many as it takes to tell them apart; Hub ids as they are."""
    whole = [_parts(path) for path in paths]
    for size in count(1):
        names = ["/".join(parts[-size:]) for parts in whole]
        if len(set(names)) == len(set(whole)):
            break
    return names


def items_of(examples: Iterable[Example], path: str, name: str) -> list[Item]:
    """The examples of a source.

    Args:
        examples: as they were read.
        path: what the user named.
        name: its public name.
    """
    prefix = str(Path(os.path.expanduser(path)))  # as the reader spells it
    return [
        Item(replace(example, where=_public(example.where, prefix, name)), name) for example in examples
    ]


def _public(where: str, prefix: str, name: str) -> str:
    return name + where[len(prefix) :] if where.startswith(prefix) else where


def _parts(path: str) -> tuple[str, ...]:
    local = os.path.expanduser(path)
    return Path(os.path.abspath(local)).parts if os.path.exists(local) else (path,)
