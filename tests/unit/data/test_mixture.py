"""How much of each source is used, worked out by hand, and what holds for every mixture."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.mixture import Ingredient, mix
from orpo.errors import ConfigError


def sizes(*ingredients: tuple[int, float | None, int | None], seed: int = 7) -> list[int]:
    """What is used of sources with these sizes, weights and caps."""
    return [len(share.indices) for share in mix(named(*ingredients), seed)]


def named(*ingredients: tuple[int, float | None, int | None]) -> list[Ingredient]:
    return [Ingredient(f"source {i}", *values) for i, values in enumerate(ingredients)]


def test_without_weights_and_caps_everything_is_used_in_its_order() -> None:
    first, second = mix(named((5, None, None), (0, None, None)), 7)
    assert first.indices.tolist() == [0, 1, 2, 3, 4]
    assert (first.over_max_rows, first.over_weight, len(second.indices)) == (0, 0, 0)


def test_a_cap_is_the_most_that_is_used() -> None:
    assert sizes((100, None, 30), (20, None, 30), (50, None, None)) == [30, 20, 50]
    capped = mix(named((100, None, 30)), 7)[0]
    assert (capped.over_max_rows, capped.over_weight) == (70, 0)


def test_weights_are_ratios_and_the_source_that_runs_out_first_sets_the_size() -> None:
    # 900 at 3 allows 300 per unit of weight, 200 at 1 allows 200: 600 and 200.
    assert sizes((900, 3, None), (200, 1, None)) == [600, 200]
    assert sizes((900, 0.75, None), (200, 0.25, None)) == [600, 200]
    # The cap makes 900 into 300: 100 per unit of weight.
    first, second = mix(named((900, 3, 300), (200, 1, None)), 7)
    assert (len(first.indices), first.over_max_rows, first.over_weight) == (300, 600, 0)
    assert (len(second.indices), second.over_max_rows, second.over_weight) == (100, 0, 100)
    # 10 at 1 sets the size; a third of it is 3.33.
    assert sizes((10, 1.5, None), (100, 0.5, None)) == [10, 3]


def test_shares_that_fit_leave_nothing_out_whatever_their_decimals() -> None:
    assert sizes((700, 0.7, None), (300, 0.3, None)) == [700, 300]
    assert sizes((70, 0.7, None), (20, 0.2, None), (10, 0.1, None)) == [70, 20, 10]


def test_weights_are_all_or_none() -> None:
    with pytest.raises(ConfigError, match="a weight or none: source 1, source 2 have none"):
        sizes((5, 1, None), (5, None, None), (5, None, 3))


def test_a_source_of_which_nothing_would_be_used_is_refused() -> None:
    message = "source 1: its weight, 0.001, leaves nothing of it: .* allows 100.1 examples in all"
    with pytest.raises(ConfigError, match=message):
        sizes((100, 1, None), (5000, 0.001, None))


def test_the_seed_decides_what_is_used() -> None:
    def used(seed: int) -> list[list[int]]:
        return [share.indices.tolist() for share in mix(named((100, None, 30), (100, None, 30)), seed)]

    assert used(1) == used(1)
    assert used(1) != used(2)
    assert used(1)[0] != used(1)[1]
    assert all(rows == sorted(rows) for rows in used(1))


def test_who_raises_a_cap_keeps_what_was_used() -> None:
    less, more = (mix(named((100, None, cap)), 7)[0].indices.tolist() for cap in (10, 50))
    assert set(less) < set(more)


@given(st.data(), st.integers(1, 5), st.booleans(), st.integers(0, 2**32 - 1))
def test_every_mixture_has_the_promised_sizes_and_repeats_nothing(
    data: st.DataObject, number: int, weighted: bool, seed: int
) -> None:
    weights = st.floats(0.1, 10) if weighted else st.none()
    values = st.tuples(st.integers(200, 400), weights, st.none() | st.integers(150, 500))
    ingredients = named(*data.draw(st.lists(values, min_size=number, max_size=number)))
    shares = mix(ingredients, seed)
    available = [min(one.size, one.max_rows or one.size) for one in ingredients]
    for one, most, share in zip(ingredients, available, shares, strict=True):
        rows = share.indices
        assert np.array_equal(rows, np.unique(rows))
        assert rows.min() >= 0
        assert rows.max() < one.size
        assert len(rows) + share.over_weight == most
        assert most + share.over_max_rows == one.size
    if weighted:
        per_weight = [
            len(share.indices) / (one.weight or 0) for one, share in zip(ingredients, shares, strict=True)
        ]
        limit = min(most / (one.weight or 0) for one, most in zip(ingredients, available, strict=True))
        assert any(share.over_weight == 0 for share in shares)
        for one, found in zip(ingredients, per_weight, strict=True):
            assert abs(found - limit) * (one.weight or 0) <= 0.5 + 1e-6
    else:
        assert not any(share.over_weight for share in shares)
