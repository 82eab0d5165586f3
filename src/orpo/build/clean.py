"""What teaches nothing new, or contradicts itself, is taken out; white space makes no difference."""

from __future__ import annotations

from collections.abc import Sequence

from orpo.build.provenance import Item
from orpo.data import Example, Pair, RowCounts
from orpo.data.pairs import responses_of
from orpo.data.shapes import IDENTICAL
from orpo.doctor.words import prompt_text

IDENTICAL_BUT_FOR_SPACE = f"{IDENTICAL} but for white space"
DUPLICATE = "duplicate of an earlier example"
SWAPPED = "the same pair is there the other way round"

_Key = tuple[str, ...]


def clean(items: Sequence[Item], counts: RowCounts) -> list[Item]:
    """The items without duplicates, of which the first stays, and without swapped pairs, of which none does.

    Args:
        items: in any order, which is kept.
        counts: where what is left out is counted.
    """
    return _without_swapped(_without_duplicates(_without_identical(items, counts), counts), counts)


def normalised(text: str) -> str:
    """The text with single spaces for all white space, and none at its ends."""
    return " ".join(text.split())


def _without_identical(items: Sequence[Item], counts: RowCounts) -> list[Item]:
    kept: list[Item] = []
    for item in items:
        responses = [normalised(text) for text in responses_of(item.example)]
        if len(set(responses)) == len(responses):
            kept.append(item)
        else:
            counts.drop(IDENTICAL_BUT_FOR_SPACE, item.example.where)
    return kept


def _without_duplicates(items: Sequence[Item], counts: RowCounts) -> list[Item]:
    first: dict[_Key, str] = {}
    kept: list[Item] = []
    for item in items:
        key, where = _key(item.example), item.example.where
        if key in first:
            counts.drop(DUPLICATE, f"{where}, as {first[key]}")
        else:
            first[key] = where
            kept.append(item)
    return kept


def _without_swapped(items: Sequence[Item], counts: RowCounts) -> list[Item]:
    places = {_key(item.example): item.example.where for item in items if isinstance(item.example, Pair)}
    kept: list[Item] = []
    for item in items:
        prompt, *responses = _key(item.example)
        opposite = places.get((prompt, *reversed(responses))) if len(responses) > 1 else None
        if opposite is None:
            kept.append(item)
        else:
            counts.drop(SWAPPED, f"{item.example.where}, against {opposite}")
    return kept


def _key(example: Example) -> _Key:
    """Prompt and responses; pairs have one more than single responses."""
    return tuple(map(normalised, (prompt_text(example.prompt), *responses_of(example))))
