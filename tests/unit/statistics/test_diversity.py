from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from orpo.statistics.diversity import across_input_similarity, per_input_similarity
from orpo.statistics.intervals import Floats

RNG = np.random.default_rng(0)


def cosine(first: Floats, second: Floats) -> float:
    return float(first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_per_input_is_the_plain_mean_over_pairs_of_samples() -> None:
    embeddings = RNG.normal(size=(3, 5, 8))
    expected = [np.mean([cosine(a, b) for a, b in combinations(samples, 2)]) for samples in embeddings]
    assert per_input_similarity(embeddings) == pytest.approx(expected)


def test_across_inputs_is_the_plain_mean_over_pairs_of_prompts() -> None:
    embeddings = RNG.normal(size=(20, 8)) + 1
    expected = np.mean([cosine(a, b) for a, b in combinations(embeddings, 2)])
    found = across_input_similarity(embeddings)
    assert found.value == pytest.approx(expected)
    assert found.units == 20


def test_the_interval_is_the_jackknifes() -> None:
    embeddings = RNG.normal(size=(12, 4)) + 0.5
    left_out = [across_input_similarity(np.delete(embeddings, i, axis=0)).value for i in range(12)]
    error = np.sqrt(11 * np.var(left_out))
    found = across_input_similarity(embeddings)
    assert found.interval.high - found.value == pytest.approx(1.959964 * error, rel=1e-5)


def test_its_interval_covers_the_expected_cosine() -> None:
    def draw(rng: np.random.Generator, prompts: int) -> Floats:
        return rng.normal(size=(prompts, 10)) + 0.5

    many = draw(np.random.default_rng(99), 100_000)
    truth = float((np.mean(many / np.linalg.norm(many, axis=1, keepdims=True), axis=0) ** 2).sum())
    missed = [
        across_input_similarity(draw(np.random.default_rng(seed), 40)).interval.excludes(truth)
        for seed in range(500)
    ]
    assert 0.91 <= 1 - np.mean(missed) <= 0.98


def test_the_same_response_is_not_diverse_and_its_length_does_not_matter() -> None:
    same = np.ones((2, 3, 4)) * np.array([1.0, 2.0, 3.0])[:, None]
    assert per_input_similarity(same) == pytest.approx([1, 1])
    assert across_input_similarity(same[0]).value == pytest.approx(1)


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_an_embedding_that_is_none_is_a_mistake_of_the_caller(value: float) -> None:
    with pytest.raises(AssertionError, match="zero or not a number"):
        across_input_similarity([[1.0, 2.0], [1.0, 1.0], [value, value]])
