"""An embedder that needs no model: texts as hashed counts of their runs of characters."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from zlib import crc32

import numpy as np

from orpo.statistics.intervals import Floats

_START, _END = "\x02", "\x03"
_SIGN = 1 << 31


@dataclass(frozen=True)
class HashedNgrams:
    """Embeds texts by their spelling: two that say the same in other words are not alike to it.

    Figures made with it compare systems with each other; they are not comparable with the paper's, nor with
    those of any embedder that was trained.
    """

    dimensions: int = 4096
    shortest: int = 3
    longest: int = 5

    comparable_with_paper = False

    @property
    def name(self) -> str:
        """What is printed beside every figure."""
        return (
            f"hashed character n-grams ({self.shortest} to {self.longest}, {self.dimensions} dimensions), "
            "not comparable with the paper's embedder"
        )

    def embed(self, texts: Sequence[str]) -> Floats:
        """(texts, dimensions) roots of counts, with a sign from the hash so that collisions cancel out.

        The ends of a text count as characters, so an empty one has an embedding too.
        """
        embeddings = np.zeros((len(texts), self.dimensions))
        for row, text in zip(embeddings, texts, strict=True):
            for ngram, count in self._ngrams(text).items():
                hashed = crc32(ngram.encode("utf-8", "surrogatepass"))
                row[hashed % self.dimensions] += np.sqrt(count) if hashed & _SIGN else -np.sqrt(count)
        return embeddings

    def _ngrams(self, text: str) -> Counter[str]:
        bounded = _START + text + _END
        return Counter(
            bounded[i : i + n]
            for n in range(min(self.shortest, len(bounded)), self.longest + 1)
            for i in range(len(bounded) - n + 1)
        )
