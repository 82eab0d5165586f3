from __future__ import annotations

import numpy as np
import pytest

from orpo.statistics.diversity import per_input_similarity
from orpo.statistics.hashed_ngrams import HashedNgrams

EMBEDDER = HashedNgrams()


def cosine(first: str, second: str) -> float:
    return float(per_input_similarity(EMBEDDER.embed([first, second])[None])[0])


def test_similar_spelling_is_similar() -> None:
    text = "The cat sat on the mat and looked at the moon."
    assert cosine(text, text) == pytest.approx(1)
    assert cosine(text, text.replace("moon", "sun")) > 0.7
    assert abs(cosine(text, "Quarterly revenue grew by 8 %.")) < 0.15


def test_collisions_cancel_out() -> None:
    """In 16 dimensions everything collides, and unsigned counts would make all texts alike."""
    texts = [chr(97 + i) * 3 + chr(110 - i) * 3 for i in range(10)]
    assert per_input_similarity(HashedNgrams(dimensions=16).embed(texts)[None])[0] < 0.3


def test_every_text_has_an_embedding() -> None:
    embeddings = EMBEDDER.embed(["", "a", "\ud800", "\x00"])
    assert (np.linalg.norm(embeddings, axis=1) > 0).all()


def test_it_is_the_same_everywhere() -> None:
    """Not Python's own hash, which changes from process to process."""
    assert np.flatnonzero(EMBEDDER.embed(["a"])[0]).tolist() == [1568]
    assert EMBEDDER.embed([]).shape == (0, 4096)


def test_it_says_that_it_is_not_the_papers() -> None:
    assert not EMBEDDER.comparable_with_paper
    assert "not comparable with the paper" in EMBEDDER.name
    assert "3 to 5, 4096" in EMBEDDER.name
