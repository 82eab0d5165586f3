from __future__ import annotations

import pytest

from orpo.doctor.responses import are_near_identical, near_identical, swapped
from tests.conversations import chat, pair

LONG = " ".join(f"word{i}" for i in range(40))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Yes, it is.", "yes it is"),
        ("Two  words", "two words "),
        ('He said "no".', "He said no!"),
        (LONG, LONG.replace("word7 ", "seven ")),
    ],
)
def test_trifles_make_no_difference(first: str, second: str) -> None:
    assert are_near_identical(first, second)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("Yes.", "No."),
        ("x = 4", "x = -4"),
        ("1.5", "15"),
        (":)", ":("),
        ("!", "?"),
        ("We will bake one cake for you", "We will bake two cakes for you"),
        (LONG, " ".join(reversed(LONG.split()))),
        (LONG, LONG.replace("word7 ", "a ").replace("word8 ", "b ").replace("word9 ", "c ")),
    ],
)
def test_what_may_matter_makes_a_difference(first: str, second: str) -> None:
    assert not are_near_identical(first, second)


def test_near_identical_responses_are_named_by_row() -> None:
    pairs = [pair("Q", "Yes", "No", "a:1"), pair("Q", "Yes.", "yes", "a:2")]
    assert [hit.where for hit in near_identical(pairs)] == ["a:2"]


def test_a_pair_both_ways_round_is_named_with_its_opposite() -> None:
    pairs = [
        pair(chat("Q"), "a", "b", "f:1"),
        pair(chat("Q"), "a", "c", "f:2"),
        pair(chat("Q"), " b", "a", "f:3"),
    ]
    (hit,) = swapped(pairs)
    assert hit.where == "f:3"
    assert "f:1" in hit.text


def test_the_same_responses_to_another_prompt_are_no_contradiction() -> None:
    assert swapped([pair("Q", "a", "b"), pair("R", "b", "a")]) == []
