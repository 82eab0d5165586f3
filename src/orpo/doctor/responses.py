"""Pairs whose two responses say the same, or whose labels contradict another pair."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from difflib import SequenceMatcher

from orpo.data.pairs import Pair
from orpo.doctor.findings import Example, Problem, Severity, example
from orpo.doctor.words import prompt_text

NEAR_IDENTICAL = Problem(
    "near_identical_responses",
    Severity.WARNING,
    "the two responses are nearly identical",
    "Such a pair rewards and punishes the same tokens. Remove it, unless the small difference is the lesson.",
)
SWAPPED = Problem(
    "swapped_pairs",
    Severity.WARNING,
    "the same pair is there both ways round",
    "The two labels cancel. Find out which one is right (often a flipped label column), and keep that row.",
)

SIMILAR = 0.95
"""Share of words, in order, that long responses must have in common to be nearly identical."""

_LONG = 20
"""Words from which on a response is long: one word of a short answer may be all that matters."""

# Punctuation that ends a word or quotes it; within a word (1.5, -4, a.b) it has a meaning.
_EDGE = re.compile(r"""[.,;:!?"'’”)]+(?=\s|$)|(?<!\S)["'‘“(]+""")


def near_identical(pairs: Sequence[Pair]) -> list[Example]:
    """Pairs whose responses differ in case, space, punctuation, or one word in twenty."""
    return [
        example(pair.where, f"chosen: {pair.chosen[:70]} | rejected: {pair.rejected[:70]}")
        for pair in pairs
        if are_near_identical(pair.chosen, pair.rejected)
    ]


def are_near_identical(first: str, second: str) -> bool:
    """Whether two texts say the same but for trifles."""
    ours, theirs = (_EDGE.sub("", text.casefold()).split() for text in (first, second))
    if ours == theirs:
        return bool(ours)
    if min(len(ours), len(theirs)) < _LONG:
        return False
    enough = SIMILAR * (len(ours) + len(theirs)) / 2
    if (Counter(ours) & Counter(theirs)).total() < enough:  # cheap, and never less than what is in order
        return False
    return SequenceMatcher(None, ours, theirs, autojunk=False).ratio() >= SIMILAR


def swapped(pairs: Sequence[Pair]) -> list[Example]:
    """Pairs of which an earlier pair is the opposite: same prompt, responses exchanged."""
    first: dict[tuple[str, str, str], str] = {}
    hits: list[Example] = []
    for pair in pairs:
        prompt, chosen, rejected = (
            prompt_text(pair.prompt).strip(),
            pair.chosen.strip(),
            pair.rejected.strip(),
        )
        opposite = first.get((prompt, rejected, chosen))
        if opposite is not None:
            hits.append(example(pair.where, f"opposite of {opposite}: {prompt}"))
        first.setdefault((prompt, chosen, rejected), pair.where)
    return hits
