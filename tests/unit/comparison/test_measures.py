"""A difference is decided only if items and seeds agree."""

from __future__ import annotations

import numpy as np
import pytest

from orpo.comparison.measures import across_inputs, mean_of_items
from orpo.statistics.diversity import across_input_similarity

ITEMS, SEEDS = 60, 3
NOISE = np.random.default_rng(0).normal(0, 1, (SEEDS, ITEMS))


def measure(**shifts: list[float]):
    """Systems whose values are alike but for a shift with each seed."""
    values = {name: NOISE + np.array(shift)[:, None] for name, shift in shifts.items()}
    return mean_of_items("key", "title", "pairs", values)


def test_a_difference_with_every_seed_is_decided() -> None:
    found = measure(low=[0, 0, 0], high=[1, 2, 3])
    assert (found.sign("high", "low"), found.sign("low", "high")) == (1, -1)
    between = found.between("high", "low")
    assert between is not None
    assert between.value == pytest.approx(2)
    assert between.by_seed == pytest.approx((1, 2, 3))


def test_seeds_that_contradict_each_other_decide_nothing() -> None:
    found = measure(one=[0, 0, 0], other=[5, 5, -1])
    between = found.between("other", "one")
    assert between is not None
    assert between.significant
    assert found.sign("other", "one") == 0


def test_noise_over_items_decides_nothing() -> None:
    rng = np.random.default_rng(1)
    values = {name: rng.normal(0, 1, (SEEDS, ITEMS)) for name in ("a", "b", "c", "d")}
    found = mean_of_items("key", "title", "pairs", values)
    assert len(found.differences) == 6
    assert {one.sign for one in found.differences} == {0}


def test_p_values_are_corrected_for_all_pairs_of_systems() -> None:
    rng = np.random.default_rng(2)
    array = rng.normal(0.28, 1, (1, ITEMS))
    two = {"zero": np.zeros((1, ITEMS)), "some": array}
    many = two | {f"other {i}": rng.normal(0, 1, (1, ITEMS)) for i in range(4)}
    alone = mean_of_items("key", "title", "pairs", two).between("some", "zero")
    among = mean_of_items("key", "title", "pairs", many).between("some", "zero")
    assert alone is not None
    assert among is not None
    assert alone.significant
    assert not among.significant


def test_items_of_one_prompt_are_drawn_together() -> None:
    values = {"a": np.repeat(NOISE[:1, :10], 6, axis=1)}
    labels = [str(i // 6) for i in range(ITEMS)]
    apart = mean_of_items("key", "title", "pairs", values).figures["a"].interval
    together = mean_of_items("key", "title", "pairs", values, labels).figures["a"].interval
    assert together.high - together.low > 1.5 * (apart.high - apart.low)


def test_a_difference_read_the_other_way_is_its_negative() -> None:
    found = measure(low=[0, 0, 0], high=[1, 2, 3])
    there, back = found.between("low", "high"), found.between("high", "low")
    assert there is not None
    assert back is not None
    assert there.interval == (-back.interval.high, -back.interval.low)
    assert found.between("low", "nobody") is None


def test_similarity_across_prompts_is_the_mean_of_the_seeds_and_differences_are_paired() -> None:
    rng = np.random.default_rng(3)
    common = rng.normal(0, 1, 20)
    alike = rng.normal(0, 1, (2, 40, 20)) + common
    found = across_inputs("key", "title", {"alike": alike, "apart": rng.normal(0, 1, (2, 40, 20))})
    seeds = [across_input_similarity(one).value for one in alike]
    assert found.figures["alike"].by_seed == pytest.approx(seeds)
    assert found.figures["alike"].value == pytest.approx(np.mean(seeds))
    assert found.sign("alike", "apart") == 1


def test_equal_embeddings_are_not_decided() -> None:
    array = np.random.default_rng(4).normal(0, 1, (1, 10, 5))
    assert across_inputs("key", "title", {"a": array, "b": array}).sign("a", "b") == 0
