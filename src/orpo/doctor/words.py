"""Texts as words and as sets of hashes, for what compares them."""

from __future__ import annotations

import re
from zlib import crc32

import numpy as np
from numpy.typing import NDArray

from orpo.data.pairs import Pair, Prompt, Single, responses_of

Shingles = NDArray[np.uint32]
"""The sorted, distinct hashes of a text's runs of words."""

_RUN = 3

# Scripts that are written without spaces: each character is a word.
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\W\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+")


def words(text: str) -> list[str]:
    """The words of a text in lower case, without punctuation."""
    return _WORD.findall(text.casefold())


def shingles(text: str) -> Shingles:
    """Hashes of all runs of three words; of the whole text where it has fewer."""
    found = words(text)
    runs = (" ".join(found[i : i + _RUN]) for i in range(max(1, len(found) - _RUN + 1)))
    return np.unique(np.fromiter((crc32(run.encode()) for run in runs), np.uint32))


def jaccard(first: Shingles, second: Shingles) -> float:
    """Shared hashes over all hashes of two texts, in [0, 1]."""
    shared = len(np.intersect1d(first, second, assume_unique=True))
    return shared / (len(first) + len(second) - shared)


def prompt_text(prompt: Prompt) -> str:
    """All of a prompt as one text."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def question(prompt: Prompt) -> str:
    """A prompt without its system turns, which many prompts share."""
    if isinstance(prompt, str):
        return prompt
    return "\n\n".join(turn.content for turn in prompt if turn.role != "system")


def texts(item: Pair | Single) -> list[str]:
    """Every text of an example: the turns of its prompt, then its responses."""
    turns = [item.prompt] if isinstance(item.prompt, str) else [turn.content for turn in item.prompt]
    return [*turns, *responses_of(item)]
