"""Figures of diversity of responses, with the embedder of choice."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from orpo.evaluation.diversity import diversity
from orpo.statistics.diversity import across_input_similarity, per_input_similarity
from orpo.statistics.hashed_ngrams import HashedNgrams
from orpo.statistics.intervals import Floats
from orpo.statistics.ngrams import distinct_n, self_bleu, tokenize

RESPONSES = [[f"the answer to {p} is {p * s}" for s in (1, 2, 3)] for p in range(70)]


def test_the_figures_are_those_of_the_statistics() -> None:
    embedder = HashedNgrams()
    found = diversity(RESPONSES, embedder)
    embedded = np.stack([embedder.embed(samples) for samples in RESPONSES])
    assert found.per_input.value == pytest.approx(per_input_similarity(embedded).mean())
    assert found.across_inputs is not None
    across = across_input_similarity(embedded[:, 0])
    assert found.across_inputs.value == pytest.approx(across.value)
    assert found.across_inputs.interval == pytest.approx(across.interval)
    tokens = [[tokenize(text) for text in samples] for samples in RESPONSES]
    assert found.self_bleu.value == pytest.approx(np.mean([self_bleu(samples) for samples in tokens]))
    values = [distinct_n(samples, 2) for samples in tokens]
    assert found.distinct_n["2"].value == pytest.approx(np.mean([value for value in values if value]))
    assert found.embedder == embedder.name
    assert not found.comparable_with_paper


def test_the_same_again_and_again_is_not_diverse() -> None:
    found = diversity([["always the same thing"] * 4 for _ in range(4)], HashedNgrams())
    assert found.per_input.value == pytest.approx(1)
    assert found.self_bleu.value == pytest.approx(1)
    assert found.across_inputs is not None
    assert found.across_inputs.value == pytest.approx(1)
    assert found.distinct_n["1"].value == pytest.approx(1 / 4)


def test_nothing_to_compare_has_no_figure_and_empty_responses_break_nothing() -> None:
    found = diversity([["", ""], ["a", ""]], HashedNgrams())
    assert found.across_inputs is None
    assert set(found.distinct_n) == {"1"}
    assert found.self_bleu.value == 0


class Lengths:
    """An embedder for which an empty text is nothing."""

    name = "lengths"
    comparable_with_paper = False

    def embed(self, texts: Sequence[str]) -> Floats:
        return np.array([[float(len(text)), 0.0] for text in texts])


def test_texts_that_are_embedded_as_nothing_are_like_each_other_only() -> None:
    found = diversity([["", ""], ["a", ""], ["a", "b"], ["", ""]], Lengths())
    assert found.per_input.value == pytest.approx((1 + 0 + 1 + 1) / 4)
    assert found.across_inputs is not None
    assert found.across_inputs.value == pytest.approx(2 / 6)
