"""Where each example is from, in names that can be published: paths may tell who worked where."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from orpo.data import Example, RowCounts


@dataclass(frozen=True)
class Item:
    """An example and the name of its source."""

    example: Example
    source: str


def public_names(paths: Sequence[str]) -> list[str]:
    """The last parts of local paths, as many as it takes to tell them apart; Hub ids as they are."""
    whole = [_parts(path) for path in paths]
    trials = (["/".join(parts[-size:]) for parts in whole] for size in count(1))
    return next(names for names in trials if len(set(names)) == len(set(whole)))


@dataclass(frozen=True)
class Naming:
    """How places in a source are called."""

    path: str
    """What the user named."""

    name: str
    """Its public name."""

    def public(self, where: str) -> str:
        """A place, without the folders that the public name leaves out."""
        prefix = str(Path(os.path.expanduser(self.path)))  # as the reader spells it
        return self.name + where[len(prefix) :] if where.startswith(prefix) else where

    def item(self, example: Example) -> Item:
        """An example of the source."""
        return Item(replace(example, where=self.public(example.where)), self.name)

    def counts(self, counts: RowCounts) -> RowCounts:
        """The account of its rows."""
        examples = {reason: self.public(where) for reason, where in counts.examples.items()}
        return replace(counts, examples=examples)


def _parts(path: str) -> tuple[str, ...]:
    local = os.path.expanduser(path)
    return Path(os.path.abspath(local)).parts if os.path.exists(local) else (path,)
