"""No prompt, and nothing that is nearly one, on both sides of the split."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from scipy.cluster.hierarchy import DisjointSet

from orpo.build.clean import normalised
from orpo.build.options import NearDuplicates
from orpo.build.provenance import Item
from orpo.data import RowCounts, hold_out, prompt_key
from orpo.data.pairs import Prompt
from orpo.doctor.duplicates import NearIndex, sketch_of
from orpo.doctor.words import prompt_text, question

SHARED = "prompt is one of the evaluation's"
NEARLY_SHARED = "prompt is nearly one of the evaluation's"


def split(items: Sequence[Item], fraction: float, seed: int) -> tuple[list[Item], list[Item]]:
    """The items to train on and those to evaluate on, each in their order.

    Prompts that are the same, white space aside, or nearly the same, directly or by others between them, go
    to one side.  Without such prompts it is the split that training makes of the same data.

    Args:
        items: at least one.
        fraction: share of the items to hold out, in (0, 1).
        seed: which prompts are held out.

    Raises:
        ConfigError, DataError: see `hold_out`.
    """
    groups = prompt_groups([item.example.prompt for item in items])
    train, evaluation = hold_out(groups, fraction, seed)
    return [items[i] for i in train], [items[i] for i in evaluation]


def prompt_groups(prompts: Sequence[Prompt]) -> list[bytes]:
    """For each prompt, the least `prompt_key` of those that must stay together with it."""
    first: dict[str, int] = {}
    places = [first.setdefault(normalised(prompt_text(prompt)), i) for i, prompt in enumerate(prompts)]
    groups = DisjointSet(first.values())
    index = NearIndex()
    for place in first.values():
        sketch = sketch_of(question(prompts[place]))
        if sketch is not None:
            for near in index.matches(sketch, skip=partial(groups.connected, place)):
                groups.merge(place, near)
            index.add(sketch, place)
    least: dict[int, bytes] = {}
    for place, prompt in zip(places, prompts, strict=True):
        root, key = groups[place], prompt_key(prompt)
        least[root] = min(key, least.get(root, key))
    return [least[groups[place]] for place in places]


def without_shared(
    train: Sequence[Item], evaluation: Sequence[Item], near_duplicates: NearDuplicates, counts: RowCounts
) -> list[Item]:
    """The training items whose prompts are not in the evaluation, which stays as it is.

    Args:
        train: in any order, which is kept.
        evaluation: what they are compared with.
        near_duplicates: what to do about prompts that are nearly there; kept ones are noted.
        counts: where it is counted.
    """
    prompts = _Prompts(evaluation)
    kept: list[Item] = []
    for item in train:
        where = item.example.where
        if same := prompts.same(item.example.prompt):
            counts.drop(SHARED, f"{where}, as {same}")
        elif not (near := prompts.near(item.example.prompt)):
            kept.append(item)
        elif near_duplicates is NearDuplicates.DROP:
            counts.drop(NEARLY_SHARED, f"{where}, nearly {near}")
        else:
            counts.notes[NEARLY_SHARED] += 1
            kept.append(item)
    return kept


class _Prompts:
    """The prompts of some items, each with the place of the first of them."""

    def __init__(self, items: Sequence[Item]) -> None:
        distinct: dict[str, Item] = {}
        for item in items:
            distinct.setdefault(normalised(prompt_text(item.example.prompt)), item)
        self._places = {text: item.example.where for text, item in distinct.items()}
        self._near_places = list(self._places.values())
        self._index = NearIndex()
        for position, item in enumerate(distinct.values()):
            sketch = sketch_of(question(item.example.prompt))
            if sketch is not None:
                self._index.add(sketch, position)

    def same(self, prompt: Prompt) -> str | None:
        """Where the prompt is, white space aside."""
        return self._places.get(normalised(prompt_text(prompt)))

    def near(self, prompt: Prompt) -> str | None:
        """Where a prompt is that is nearly this one."""
        sketch = sketch_of(question(prompt))
        position = next(self._index.matches(sketch), None) if sketch is not None else None
        return None if position is None else self._near_places[position]
