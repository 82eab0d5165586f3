"""Examples in Arrow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.pairs import Example, Message, Pair, Prompt, Single
from orpo.data.table import ExampleTable, fingerprint_examples, to_arrow

text = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
prompts = text | st.lists(
    st.builds(Message, st.sampled_from(["system", "user"]), text), min_size=1, max_size=3
).map(tuple)
weights, margins = st.floats(0.1, 10), st.floats(-10, 10)
examples = st.builds(Pair, prompts, text, text, text, weights, margins) | st.builds(
    Single, prompts, text, st.booleans(), text, weights
)


def table_of(items: Sequence[Example]) -> ExampleTable:
    return ExampleTable(to_arrow(items), ())


def numbered(*prompts: Prompt) -> ExampleTable:
    return table_of([Pair(prompt, "yes", "no", f"row {i}") for i, prompt in enumerate(prompts, 1)])


@given(st.lists(examples, max_size=6))
def test_examples_come_back_as_they_were(items: list[Example]) -> None:
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
    assert fingerprint_examples(numbered("a", "b")) == fingerprint_examples(same)
    first, second = same
    others = [
        numbered("b", "a"),
        numbered("a"),
        numbered("a", (Message("user", "b"),)),
        table_of([first, replace(second, weight=2.0)]),
        table_of([first, Pair("b", "yes", "no", "x", margin=2.0)]),
        table_of([first, Single("b", "yes", is_desirable=True, where="x")]),
        table_of([first, Single("b", "yes", is_desirable=False, where="x")]),
    ]
    assert len({fingerprint_examples(table) for table in (same, *others)}) == 1 + len(others)
