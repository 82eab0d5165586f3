"""What is held out, by prompt."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.holdout import hold_out, prompt_key
from orpo.data.pairs import Message
from orpo.errors import ConfigError, DataError


def keys(*prompts: object) -> list[bytes]:
    return [prompt_key(str(prompt)) for prompt in prompts]


@given(
    st.lists(st.integers(0, 30), min_size=20, max_size=80),
    st.floats(0.1, 0.9),
    st.integers(0, 5),
)
def test_every_example_is_on_one_side_with_all_of_its_prompt(
    prompts: list[int], fraction: float, seed: int
) -> None:
    try:
        train, held_out = hold_out(keys(*prompts), fraction, seed)
    except DataError:
        assert min(Counter(prompts).values()) > max(1, round(fraction * len(prompts)))
        return
    assert sorted(train + held_out) == list(range(len(prompts)))
    assert (train, held_out) == (sorted(train), sorted(held_out))
    assert not {prompts[i] for i in train} & {prompts[i] for i in held_out}
    assert 0 < len(held_out) <= max(1, round(fraction * len(prompts)))
    assert train


def test_the_share_is_met_where_prompts_differ() -> None:
    train, held_out = hold_out(keys(*range(200)), 0.05, seed=1)
    assert (len(train), len(held_out)) == (190, 10)


@pytest.mark.parametrize(("examples", "fraction"), [(10, 0.01), (2, 0.9)])
def test_neither_side_is_empty(examples: int, fraction: float) -> None:
    train, held_out = hold_out(keys(*range(examples)), fraction, seed=0)
    assert (len(train), len(held_out)) == (examples - 1, 1)


def test_the_seed_alone_decides_what_is_held_out() -> None:
    def held_out(prompts: list[int], seed: int) -> set[int]:
        return {prompts[i] for i in hold_out(keys(*prompts), 0.2, seed)[1]}

    prompts = list(range(100))
    assert held_out(prompts[::-1], seed=1) == held_out(prompts, seed=1)
    assert held_out(prompts, seed=2) != held_out(prompts, seed=1)


def test_messages_and_text_with_the_same_letters_are_different_prompts() -> None:
    turns = (Message("user", "a"), Message("user", "b"))
    assert len({prompt_key("a"), prompt_key(turns[:1]), prompt_key(turns), prompt_key(turns[1:])}) == 4
    assert prompt_key((Message("user", "a"),)) == prompt_key(turns[:1])


def test_one_prompt_cannot_be_on_both_sides() -> None:
    with pytest.raises(DataError, match="cannot hold out 2 of 4 pairs: they have 1 different prompts"):
        hold_out(keys(*"aaaa"), 0.5, seed=0)


@pytest.mark.parametrize("fraction", [0.0, 1.0, -0.1, float("nan")])
def test_a_fraction_is_between_zero_and_one(fraction: float) -> None:
    with pytest.raises(ConfigError, match="expected a number between 0 and 1"):
        hold_out(keys("a", "b"), fraction, seed=0)
