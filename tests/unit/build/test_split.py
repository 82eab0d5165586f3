from __future__ import annotations

import random
from itertools import pairwise

import pytest

from orpo.build.options import NearDuplicates
from orpo.build.provenance import Item
from orpo.build.split import NEARLY_SHARED, SHARED, prompt_groups, split, without_shared
from orpo.data import RowCounts, hold_out, prompt_key
from orpo.errors import DataError
from tests.conversations import chat
from tests.unit.build.items import item, places, single


def text(seed: int, size: int = 60) -> str:
    rng = random.Random(seed)
    return " ".join(f"w{rng.randrange(5000)}" for _ in range(size))


def edited(original: str, *words: int) -> str:
    """The text with these of its words replaced."""
    found = original.split()
    for i in words:
        found[i] = f"new{i}"
    return " ".join(found)


def test_prompts_are_together_if_they_are_the_same_white_space_aside() -> None:
    first, second, other, as_chat = prompt_groups(["Why?", " Why?\n", "Why not?", chat("Why?")])
    assert first == second
    assert len({first, other, as_chat}) == 3


def test_the_key_of_a_group_is_that_of_one_of_its_prompts_in_any_order() -> None:
    near = edited(text(1), 30)
    keys = {prompt_key(text(1)), prompt_key(near)}
    assert prompt_groups([text(1), near]) == prompt_groups([near, text(1)]) == [min(keys)] * 2


def test_prompts_that_are_near_through_others_between_them_are_together() -> None:
    chain = [text(1)]
    for i in range(5, 60, 10):
        chain.append(edited(chain[-1], i))
    assert len(set(prompt_groups([chain[0], chain[-1]]))) == 2
    assert len(set(prompt_groups(chain))) == 1
    assert all(len(set(prompt_groups(list(two)))) == 1 for two in pairwise(chain))


def test_the_system_turn_makes_a_long_question_no_other_one() -> None:
    prompts = [chat(text(1), system="Be brief."), chat(text(1), system="Speak as a pirate would.")]
    assert len(set(prompt_groups(prompts))) == 1


def test_a_split_has_no_prompt_on_both_sides_exactly_or_nearly() -> None:
    items: list[Item] = []
    for i in range(50):
        items += [item(text(i), f"a{i}", where=f"{i}"), item(edited(text(i), 20), f"b{i}", where=f"{i}")]
    train, evaluation = split(items, 0.2, seed=3)
    assert len(train) + len(evaluation) == 100
    assert len(evaluation) == 20
    assert not set(places(train)) & set(places(evaluation))


def test_without_near_prompts_the_split_is_the_one_that_training_makes() -> None:
    items = [item(text(i // 2), where=str(i)) for i in range(40)]
    train, evaluation = hold_out([prompt_key(one.example.prompt) for one in items], 0.2, 7)
    assert [places(part) for part in split(items, 0.2, 7)] == [
        list(map(str, train)),
        list(map(str, evaluation)),
    ]
    assert places(split(items, 0.2, 8)[1]) != list(map(str, evaluation))


def test_one_group_cannot_be_split() -> None:
    with pytest.raises(DataError, match="cannot hold out"):
        split([item(text(1)), item(edited(text(1), 30))], 0.5, 0)


def test_training_examples_whose_prompt_is_evaluated_are_left_out_and_the_evaluation_stays() -> None:
    train = [
        item(text(1), where="t:1"),
        item(text(2) + " ", where="t:2"),
        item(edited(text(3), 30), where="t:3"),
        single(text(2), "a", where="t:4"),
    ]
    evaluation = [item(text(3), where="e:1"), item(text(2), where="e:2"), item(text(2), "c", where="e:3")]
    counts = RowCounts()
    assert places(without_shared(train, evaluation, NearDuplicates.DROP, counts)) == ["t:1"]
    assert counts.dropped == {SHARED: 2, NEARLY_SHARED: 1}
    assert counts.examples == {SHARED: "t:2, as e:2", NEARLY_SHARED: "t:3, nearly e:1"}


def test_prompts_that_are_nearly_evaluated_can_be_kept_and_are_noted() -> None:
    train = [item(text(2), where="t:1"), item(edited(text(3), 30), where="t:2")]
    counts = RowCounts()
    evaluation = [item(text(2)), item(text(3))]
    assert places(without_shared(train, evaluation, NearDuplicates.KEEP, counts)) == ["t:2"]
    assert counts.dropped == {SHARED: 1}
    assert counts.notes == {NEARLY_SHARED: 1}
