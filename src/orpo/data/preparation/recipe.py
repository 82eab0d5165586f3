"""What the tokens of a source depend on: two sources with one recipe become the same bytes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from orpo.data.read import SourceStream
from orpo.data.shapes import Transcripts
from orpo.data.spec import Role
from orpo.data.specials import added_prefix
from orpo.data.templates import Template
from orpo.data.tokens import PairTokenizer, Truncation

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

FORMAT = 2
"""Grows when what is stored, or how, changes."""

_CODE = ("orpo", "tokenizers", "transformers", "jinja2")
"""The packages that decide what becomes of a text."""


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How sources are read; see `orpo.data.stream_examples`."""

    role: Role
    transcripts: Transcripts
    keep_unpaired: bool = False


@dataclass(frozen=True, kw_only=True)
class Tokenization:
    """How examples become token ids; see `PairTokenizer`."""

    template: Template
    max_length: int
    truncation: Truncation
    finds_answers: bool

    def pair_tokenizer(self, tokenizer: PreTrainedTokenizerBase) -> PairTokenizer:
        """A tokenizer of examples that does it so."""
        return PairTokenizer(
            tokenizer,
            self.template,
            max_length=self.max_length,
            truncation=self.truncation,
            finds_answers=self.finds_answers,
        )


@dataclass(frozen=True)
class Recipe:
    """Everything that the tokens of a source depend on."""

    ingredients: dict[str, Any]
    """By name, as JSON holds them."""

    @classmethod
    def of(
        cls,
        stream: SourceStream,
        reading: Reading,
        tokenization: Tokenization,
        tokenizer: PreTrainedTokenizerBase,
    ) -> Recipe | None:
        """The recipe of a source, or None if its content or the tokenizer has no identity.

        The names of the files are part of it, because the tokens remember where they are from.
        """
        if stream.fingerprint is None or not tokenizer.is_fast:
            return None
        template = tokenization.template
        return cls(
            {
                "format": FORMAT,
                "versions": {name: version(name) for name in _CODE},
                "content": stream.fingerprint,
                "source": asdict(stream.spec),
                "reading": asdict(reading),
                "tokenization": asdict(tokenization)
                | {"template": {"sha256": template.sha256, "wraps_text": template.wraps_text}},
                "tokenizer": _identity(tokenizer),
            }
        )

    @property
    def key(self) -> str:
        """The recipe's name in a cache."""
        text = json.dumps(self.ingredients, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:40]


def _identity(tokenizer: PreTrainedTokenizerBase) -> dict[str, Any]:
    """What `PairTokenizer` reads of a tokenizer."""
    # The probe comes first: it clears settings of truncation and padding, which the backend's JSON holds.
    prefix = added_prefix(tokenizer)
    backend: str = tokenizer.backend_tokenizer.to_str()  # type: ignore[attr-defined]
    return {
        "class": type(tokenizer).__qualname__,
        "backend": hashlib.sha256(backend.encode()).hexdigest(),
        "specials": {name: str(token) for name, token in tokenizer.special_tokens_map.items()},
        "eos": tokenizer.eos_token_id,
        "prefix": list(prefix),
    }
