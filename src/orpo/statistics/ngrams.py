"""Diversity of texts by the runs of words that they share: distinct-n and self-BLEU."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import chain
from math import exp, log

# Scripts that are written without spaces: each character is a word.  Punctuation marks are words too.
_TOKEN = re.compile(
    r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+|[^\w\s]"
)

_FOR_NOTHING_SHARED = 0.1
"""Matches assumed where there are none (method 1 of Chen and Cherry 2014), as self-BLEU's authors do."""

Tokens = Sequence[str]
NGram = tuple[str, ...]


def tokenize(text: str) -> list[str]:
    """Words and punctuation marks, as they are written."""
    return _TOKEN.findall(text)


def distinct_n(texts: Sequence[Tokens], n: int) -> float | None:
    """Different n-grams over all n-grams of `texts` together (Li et al. 2016, arXiv:1510.03055).

    It falls with the amount of text, so compare equal numbers of responses, of about equal length.

    Returns:
        In (0, 1]; None if no text has `n` tokens.
    """
    counts = sum((_ngrams(text, n) for text in texts), Counter[NGram]())
    return len(counts) / counts.total() if counts else None


def self_bleu(texts: Sequence[Tokens], *, longest: int = 4) -> float:
    """Mean BLEU of each text with the others as references (Zhu et al. 2018).

    Equal weights for n-grams of 1 to `longest` tokens, the usual brevity penalty, 0.1 for a count of 0.
    Texts that are all the same have 1, unless they are shorter than that; one that shares no token has 0.

    Args:
        texts: at least two.
        longest: tokens of the longest n-grams.
    """
    assert len(texts) >= 2
    counts = [[_ngrams(text, n) for text in texts] for n in range(1, longest + 1)]
    return sum(_bleu(texts, counts, i) for i in range(len(texts))) / len(texts)


def _bleu(texts: Sequence[Tokens], counts: Sequence[Sequence[Counter[NGram]]], at: int) -> float:
    """BLEU of `texts[at]`; `counts` holds for each n the n-grams of each text."""
    shared = [_shared(of_n[at], [*of_n[:at], *of_n[at + 1 :]]) for of_n in counts]
    if shared[0] == 0:
        return 0.0
    logs = [
        log((found or _FOR_NOTHING_SHARED) / max(1, of_n[at].total()))
        for found, of_n in zip(shared, counts, strict=True)
    ]
    length = len(texts[at])
    others = (len(text) for text in chain(texts[:at], texts[at + 1 :]))
    closest = min(others, key=lambda other: (abs(other - length), other))
    return exp(sum(logs) / len(logs) + min(0.0, 1 - closest / length))


def _shared(own: Counter[NGram], others: Sequence[Counter[NGram]]) -> int:
    """N-grams that another text has too, each at most as often as one text has it."""
    return sum(min(count, max(other[ngram] for other in others)) for ngram, count in own.items())


def _ngrams(text: Tokens, n: int) -> Counter[NGram]:
    return Counter(tuple(text[i : i + n]) for i in range(len(text) - n + 1))
