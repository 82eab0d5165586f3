"""Embedders of texts for figures of diversity: by spelling, or by a trained encoder."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from transformers import AutoConfig, AutoModel, PreTrainedModel, PreTrainedTokenizerBase

from orpo.errors import ConfigError
from orpo.modeling.hub import loading, refuse_pickled_weights
from orpo.modeling.load import load_tokenizer
from orpo.modeling.padding import padding_id
from orpo.statistics.hashed_ngrams import HashedNgrams
from orpo.statistics.intervals import Floats

HASHED = "hashed"

_BATCH = 32
"""Texts that are embedded together."""

_LONGEST = 512
"""Tokens of a text that are looked at, unless the model has fewer positions."""


class Embedder(Protocol):
    """Turns texts into vectors whose cosines say how alike the texts are."""

    @property
    def name(self) -> str:
        """What is printed beside every figure."""
        ...

    @property
    def comparable_with_paper(self) -> bool:
        """Whether it is the embedder of the paper's figures."""
        ...

    def embed(self, texts: Sequence[str]) -> Floats:
        """(texts, dimensions) vectors; one that is zero is like no other text."""
        ...


def load_embedder(choice: str, device: torch.device) -> Embedder:
    """The embedder that a user means.

    Args:
        choice: `hashed`; `sentence-transformers:NAME` or `model2vec:NAME`, through these libraries; else the
            folder or Hub id of an encoder of transformers, whose last hidden states are averaged.
        device: where an encoder goes.

    Raises:
        ConfigError, NetworkError: it does not exist, cannot be loaded, or needs a library that is not there.
    """
    if choice == HASHED:
        return HashedNgrams()
    library, separator, name = choice.partition(":")
    if separator and library in _LIBRARIES:
        return _LIBRARIES[library](_imported(library), name, device)
    return MeanPooled.load(choice, device)


class MeanPooled:
    """The mean of an encoder's last hidden states over the tokens of a text.

    Args:
        name: for people.
        model: an encoder or a decoder of transformers, without head.
        tokenizer: the model's.
    """

    comparable_with_paper = False

    def __init__(self, name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
        self.name = f"{name} (mean of the last hidden states)"
        self._model = model.eval()
        self._tokenizer = tokenizer
        positions = getattr(model.config, "max_position_embeddings", None)
        self._longest = min(_LONGEST, positions or _LONGEST)

    @classmethod
    def load(cls, name: str, device: torch.device) -> MeanPooled:
        """The encoder in a folder or on the Hub.

        Raises:
            ConfigError, NetworkError: it does not exist or cannot be loaded.
        """
        tokenizer = load_tokenizer(name)
        with loading("embedder", name, None) as place:
            config = AutoConfig.from_pretrained(place, trust_remote_code=False)
            refuse_pickled_weights(name, config)
            model = AutoModel.from_pretrained(
                place, config=config, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
            )
        return cls(name, model.to(device), tokenizer)

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `Embedder`; of a text only the first tokens are looked at, 512 or what the model can take."""
        parts = [self._embed(texts[start : start + _BATCH]) for start in range(0, len(texts), _BATCH)]
        return np.concatenate(parts)

    @torch.no_grad()
    def _embed(self, texts: Sequence[str]) -> Floats:
        encoded: list[list[int]] = self._tokenizer(list(texts), truncation=True, max_length=self._longest)[
            "input_ids"
        ]  # type: ignore[assignment]
        pad = padding_id(self._tokenizer)
        rows = [ids or [pad] for ids in encoded]
        width = max(map(len, rows))
        ids = torch.tensor([row + [pad] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        ids, mask = ids.to(self._model.device), mask.to(self._model.device)
        states = self._model(input_ids=ids, attention_mask=mask).last_hidden_state.float()
        total = (states * mask[:, :, None]).sum(dim=1)
        return (total / mask.sum(dim=1, keepdim=True)).cpu().numpy().astype(np.float64)


class LibraryEmbedder:
    """An embedder of another library.

    Args:
        name: for people.
        encode: from texts to (texts, dimensions).
    """

    comparable_with_paper = False

    def __init__(self, name: str, encode: Callable[[list[str]], Any]) -> None:
        self.name = name
        self._encode = encode

    def embed(self, texts: Sequence[str]) -> Floats:
        """See `Embedder`."""
        return np.asarray(self._encode(list(texts)), dtype=np.float64)


def _sentence_transformer(library: Any, name: str, device: torch.device) -> LibraryEmbedder:
    with loading("embedder", name, None) as place:
        model = library.SentenceTransformer(place, device=str(device), trust_remote_code=False)
    return LibraryEmbedder(
        f"{name} (sentence-transformers)", lambda texts: model.encode(texts, show_progress_bar=False)
    )


def _static_model(library: Any, name: str, device: torch.device) -> LibraryEmbedder:
    with loading("embedder", name, None) as place:
        model = library.StaticModel.from_pretrained(place)
    return LibraryEmbedder(f"{name} (model2vec)", model.encode)


_LIBRARIES: dict[str, Callable[[Any, str, torch.device], Embedder]] = {
    "sentence-transformers": _sentence_transformer,
    "model2vec": _static_model,
}


def _imported(library: str) -> ModuleType:
    try:
        return importlib.import_module(library.replace("-", "_"))
    except ImportError:
        raise ConfigError(
            f"--embedder: {library} is not installed",
            hint=f"pip install {library}, or take `{HASHED}` or an encoder of transformers.",
        ) from None
