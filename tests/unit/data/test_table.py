"""Pairs in Arrow, and the pairs that are held out."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.pairs import Message, Pair, Prompt
from orpo.data.table import PairTable, fingerprint_pairs, hold_out, to_arrow
from orpo.errors import ConfigError, DataError

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
prompts = text | st.lists(
    st.builds(Message, st.sampled_from(["system", "user"]), text), min_size=1, max_size=3
).map(tuple)
pairs = st.builds(Pair, prompts, text, text, text)


def table_of(items: list[Pair]) -> PairTable:
    return PairTable(to_arrow(items), ())


def numbered(*prompts: Prompt) -> PairTable:
    return table_of([Pair(prompt, "yes", "no", f"row {i}") for i, prompt in enumerate(prompts, 1)])


@given(st.lists(pairs, max_size=6))
def test_pairs_come_back_as_they_were(items: list[Pair]) -> None:
    table = table_of(items)
    assert len(table) == len(items)
    assert list(table) == items
    assert [table[i] for i in range(-len(items), len(items))] == items * 2
    assert list(table.select(list(range(len(items)))[::-1])) == items[::-1]


def test_there_is_nothing_beyond_the_end() -> None:
    table = numbered("a", "b")
    for index in (2, -3):
        with pytest.raises(IndexError):
            table[index]


def test_pairs_beyond_one_batch_are_kept() -> None:
    table = numbered(*map(str, range(10_000)))
    assert [pair.prompt for pair in table] == list(map(str, range(10_000)))
    assert table[9_999].prompt == "9999"


def test_the_fingerprint_depends_on_texts_and_order_and_not_on_places() -> None:
    same = table_of([Pair("a", "yes", "no", "elsewhere"), Pair("b", "yes", "no", "x")])
    assert fingerprint_pairs(numbered("a", "b")) == fingerprint_pairs(same)
    others = numbered("b", "a"), numbered("a"), numbered("a", (Message("user", "b"),))
    assert len({fingerprint_pairs(table) for table in (same, *others)}) == 4


@given(
    st.lists(st.integers(0, 30), min_size=20, max_size=80),
    st.floats(0.1, 0.9),
    st.integers(0, 5),
)
def test_every_pair_is_on_one_side_with_all_of_its_prompt(
    numbers: list[int], fraction: float, seed: int
) -> None:
    table = numbered(*map(str, numbers))
    try:
        train, held_out = hold_out(table, fraction, seed)
    except DataError:
        assert min(Counter(numbers).values()) > max(1, round(fraction * len(numbers)))
        return
    assert sorted([*train, *held_out], key=lambda pair: int(pair.where[4:])) == list(table)
    assert not {pair.prompt for pair in train} & {pair.prompt for pair in held_out}
    assert 0 < len(held_out) <= max(1, round(fraction * len(table)))
    assert len(train) > 0
    assert list(train) == [pair for pair in table if pair in list(train)]


def test_the_share_is_met_where_prompts_differ() -> None:
    train, held_out = hold_out(numbered(*map(str, range(200))), 0.05, seed=1)
    assert (len(train), len(held_out)) == (190, 10)


@pytest.mark.parametrize(("pairs", "fraction"), [(10, 0.01), (2, 0.9)])
def test_neither_side_is_empty(pairs: int, fraction: float) -> None:
    train, held_out = hold_out(numbered(*map(str, range(pairs))), fraction, seed=0)
    assert (len(train), len(held_out)) == (pairs - 1, 1)


def test_the_seed_alone_decides_what_is_held_out() -> None:
    table = numbered(*map(str, range(100)))
    reordered = table.select(list(range(100))[::-1])
    held_out = {pair.prompt for pair in hold_out(table, 0.2, seed=1)[1]}
    assert {pair.prompt for pair in hold_out(reordered, 0.2, seed=1)[1]} == held_out
    assert {pair.prompt for pair in hold_out(table, 0.2, seed=2)[1]} != held_out


def test_messages_and_text_with_the_same_letters_are_different_prompts() -> None:
    train, held_out = hold_out(numbered("a", (Message("user", "a"),)), 0.5, seed=0)
    assert len(train) == len(held_out) == 1


def test_one_prompt_cannot_be_on_both_sides() -> None:
    with pytest.raises(DataError, match="cannot hold out 2 of 4 pairs: they have 1 different prompts"):
        hold_out(numbered(*"aaaa"), 0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_is_between_zero_and_one(fraction: float) -> None:
    with pytest.raises(ConfigError, match="expected a number between 0 and 1"):
        hold_out(numbered("a", "b"), fraction, seed=0)
