from __future__ import annotations

from orpo.build.clean import DUPLICATE, IDENTICAL_BUT_FOR_SPACE, SWAPPED, clean
from orpo.build.provenance import Item
from orpo.data import RowCounts
from tests.conversations import chat
from tests.unit.build.items import item, places, single


def cleaned(*items: Item) -> tuple[list[str], RowCounts]:
    counts = RowCounts()
    return places(clean(items, counts)), counts


def test_what_differs_is_kept_in_its_order() -> None:
    kept, counts = cleaned(
        item("p", "a", "b", "f:1"),
        item("p", "a", "c", "f:2"),
        item("q", "a", "b", "f:3"),
        item(chat("p"), "a", "b", "f:4"),
        item(chat("p", system="s"), "a", "b", "f:5"),
        single("p", "a", "f:6"),
    )
    assert kept == ["f:1", "f:2", "f:3", "f:4", "f:5", "f:6"]
    assert not counts.dropped


def test_of_duplicates_the_first_is_kept_whatever_the_white_space() -> None:
    kept, counts = cleaned(
        item("p q", "a", "b", "f:1"),
        item(" p\n\tq ", "a ", " b", "f:2"),
        item("p q", "a", "b", "f:3"),
        single("p q", "a", "f:4"),
        single("p q", " a", "f:5"),
    )
    assert kept == ["f:1", "f:4"]
    assert counts.dropped == {DUPLICATE: 3}
    assert counts.examples == {DUPLICATE: "f:2, as f:1"}


def test_of_a_pair_both_ways_round_nothing_is_kept_however_often_each_is_there() -> None:
    kept, counts = cleaned(
        item("p", "a", "b", "f:1"),
        item("p", "a", "b", "f:2"),
        item("p", "b ", "a", "f:3"),
        item("q", "b", "a", "f:4"),
        item("p", "b", "c", "f:5"),
    )
    assert kept == ["f:4", "f:5"]
    assert counts.dropped == {DUPLICATE: 1, SWAPPED: 2}
    assert counts.examples[SWAPPED] == "f:1, against f:3"


def test_responses_that_differ_in_white_space_only_are_identical_and_no_swapped_pair() -> None:
    kept, counts = cleaned(item("p", "a b", "a  b", "f:1"), item("p", "a  b", "a b", "f:2"))
    assert kept == []
    assert counts.dropped == {IDENTICAL_BUT_FOR_SPACE: 2}
