"""Embedders: by spelling, by an encoder in a folder, or by a library that may not be there."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from orpo.errors import ConfigError
from orpo.evaluation.embedders import MeanPooled, load_embedder
from orpo.statistics.hashed_ngrams import HashedNgrams
from tests.paths import SHARED, needs_shared
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_llama

CPU = torch.device("cpu")


def test_by_default_texts_are_embedded_by_their_spelling() -> None:
    assert load_embedder("hashed", CPU) == HashedNgrams()


def test_a_text_is_the_mean_of_its_tokens_whatever_stands_beside_it() -> None:
    model, tokenizer = tiny_llama(vocab_size=300).model.eval(), byte_tokenizer()
    texts = ["abc", "a much longer text than that", "", "x"]
    together = MeanPooled("tiny", model, tokenizer).embed(texts)
    ids = torch.tensor([tokenizer("abc")["input_ids"]])
    with torch.no_grad():
        expected = model(input_ids=ids).last_hidden_state[0].mean(0).numpy()
    assert np.allclose(together[0], expected, atol=1e-6)
    alone = np.concatenate([MeanPooled("tiny", model, tokenizer).embed([text]) for text in texts])
    assert np.allclose(together, alone, atol=1e-6)


def test_a_text_that_is_too_long_is_cut(tmp_path: Path) -> None:
    embedder = load_embedder(str(save_tiny_model(tmp_path, positions=16)), CPU)
    long, cut = embedder.embed(["0123456789abcdef and more", "0123456789abcdef"])
    assert np.allclose(long, cut)


@needs_shared
def test_a_model_that_is_there_tells_texts_apart() -> None:
    embedder = load_embedder(str(SHARED / "models/stories260k"), CPU)
    same, other = embedder.embed(["Once upon a time there was a cat.", "Tim had a red ball."])
    assert same @ other / np.linalg.norm(same) / np.linalg.norm(other) < 0.999
    assert not embedder.comparable_with_paper


@pytest.mark.parametrize("library", ["sentence-transformers", "model2vec"])
def test_a_library_that_is_not_there_is_named(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library.replace("-", "_"), None)
    with pytest.raises(ConfigError, match=f"--embedder: {library} is not installed"):
        load_embedder(f"{library}:owner/name", CPU)


def test_a_library_that_is_there_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class StaticModel:
        @classmethod
        def from_pretrained(cls, place: str) -> StaticModel:
            assert place == str(tmp_path)
            return cls()

        def encode(self, texts: list[str]) -> Any:
            return np.array([[len(text), 1.0] for text in texts], dtype=np.float32)

    library = ModuleType("model2vec")
    library.StaticModel = StaticModel  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "model2vec", library)
    embedder = load_embedder(f"model2vec:{tmp_path}", CPU)
    assert embedder.name == f"{tmp_path} (model2vec)"
    assert embedder.embed(["abc", ""]).tolist() == [[3, 1], [0, 1]]


def test_what_does_not_exist_is_refused() -> None:
    with pytest.raises(ConfigError, match="no such folder"):
        load_embedder("/nowhere/at/all", CPU)
