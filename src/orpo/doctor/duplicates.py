"""Rows that are there twice, within one part of the data and across training and evaluation.

Candidates for near-duplicates come from MinHash (Broder 1997) and banded locality-sensitive hashing; each one
is then compared exactly, so there are no false alarms, and at the limit one in twenty goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from datasketch import MinHash, MinHashLSH

from orpo.data.pairs import Pair
from orpo.doctor.findings import Example, Problem, Severity, example
from orpo.doctor.words import Shingles, jaccard, prompt_text, question, shingles, words

EXACT = Problem(
    "duplicate_pairs",
    Severity.WARNING,
    "the same pair is there more than once",
    "Keep one of them: repeated pairs weigh more and are memorised sooner.",
)
NEAR = Problem(
    "near_duplicate_pairs",
    Severity.NOTE,
    "nearly the same pair is there more than once",
    "Look at the examples. Copies with small edits weigh more than other pairs and are memorised sooner.",
)
SHARED_PROMPT = Problem(
    "prompts_in_train_and_eval",
    Severity.WARNING,
    "prompts of the evaluation are in the training data",
    "Remove these prompts from one side: figures on seen prompts say nothing about new ones.",
)
NEAR_SHARED_PROMPT = Problem(
    "near_prompts_in_train_and_eval",
    Severity.WARNING,
    "prompts of the evaluation are nearly in the training data",
    "Look at the examples, and remove what is the same question from one side.",
)

SIMILAR = 0.8
"""Jaccard similarity of three-word runs from which on texts are near-duplicates."""

_FEWEST_WORDS = 8
"""Shorter texts are alike by chance: 'Tell me a joke about cats' and '… about dogs' are two questions."""

_PERMUTATIONS = 128
_BANDS = (16, 8)
"""Bands of rows: similarity 0.8 is a candidate with probability 0.95, 0.5 with 0.06."""


def exact_duplicates(pairs: Sequence[Pair]) -> list[Example]:
    """Pairs that repeat an earlier one, white space at the ends aside."""
    return [
        example(pairs[i].where, f"as {pairs[j].where}: {prompt_text(pairs[i].prompt)}")
        for i, j in _repeats(pairs)
    ]


def near_duplicates(pairs: Sequence[Pair]) -> list[Example]:
    """Pairs that nearly repeat an earlier one: as a whole, and in their responses.

    Other responses to a long prompt are another pair, however much of the text they share.
    """
    repeated = {i for i, _ in _repeats(pairs)}
    index = NearIndex()
    hits: list[Example] = []
    for i, pair in enumerate(pairs):
        sketch = sketch_of(f"{question(pair.prompt)}\n{_responses(pair)}")
        if i in repeated or sketch is None:
            continue
        responses = shingles(_responses(pair))
        near = (
            j for j in index.matches(sketch) if jaccard(shingles(_responses(pairs[j])), responses) >= SIMILAR
        )
        earlier = next(near, None)
        if earlier is not None:
            hits.append(example(pair.where, f"nearly {pairs[earlier].where}: {prompt_text(pair.prompt)}"))
        index.add(sketch, i)
    return hits


def shared_prompts(train: Sequence[Pair], evaluation: Sequence[Pair]) -> list[Example]:
    """Evaluation pairs whose prompt is also one of training."""
    first = _first_places(train)
    return [
        example(pair.where, f"as {first[key]}: {key}")
        for pair in evaluation
        if (key := prompt_text(pair.prompt).strip()) in first
    ]


def near_shared_prompts(train: Sequence[Pair], evaluation: Sequence[Pair]) -> list[Example]:
    """Evaluation pairs whose prompt is nearly, but not exactly, one of training."""
    first = _first_places(train)
    index = NearIndex()
    for i in {question(pair.prompt): i for i, pair in reversed(list(enumerate(train)))}.values():
        sketch = sketch_of(question(train[i].prompt))
        if sketch is not None:
            index.add(sketch, i)
    hits: list[Example] = []
    for pair in evaluation:
        sketch = sketch_of(question(pair.prompt))
        if sketch is None or prompt_text(pair.prompt).strip() in first:
            continue
        near = next(index.matches(sketch), None)
        if near is not None:
            hits.append(example(pair.where, f"nearly {train[near].where}: {prompt_text(pair.prompt)}"))
    return hits


@dataclass(frozen=True, eq=False)
class Sketch:
    """A text as the near index sees it."""

    hashes: Shingles
    minhash: MinHash


_EMPTY = MinHash(num_perm=_PERMUTATIONS, hashfunc=int)  # the shingles are hashes already


def sketch_of(text: str) -> Sketch | None:
    """The sketch of a text; None for a few words."""
    if len(words(text)) < _FEWEST_WORDS:
        return None
    hashes = shingles(text)
    minhash = _EMPTY.copy()
    minhash.update_batch(hashes.tolist())
    return Sketch(hashes, minhash)


class NearIndex:
    """Finds the texts that a text nearly repeats."""

    def __init__(self) -> None:
        self._lsh = MinHashLSH(num_perm=_PERMUTATIONS, params=_BANDS)
        self._hashes: dict[int, Shingles] = {}

    def add(self, sketch: Sketch, key: int) -> None:
        """Remember a text under a key of its own."""
        self._lsh.insert(key, sketch.minhash)
        self._hashes[key] = sketch.hashes

    def matches(self, sketch: Sketch) -> Iterator[int]:
        """The keys of the remembered texts that are near, in ascending order."""
        candidates = sorted(key for key in self._lsh.query(sketch.minhash) if isinstance(key, int))
        return (key for key in candidates if jaccard(self._hashes[key], sketch.hashes) >= SIMILAR)


def _responses(pair: Pair) -> str:
    return f"{pair.chosen}\n{pair.rejected}"


def _repeats(pairs: Sequence[Pair]) -> list[tuple[int, int]]:
    """The index of each repeated pair, with that of the pair which it repeats."""
    first: dict[tuple[str, str, str], int] = {}
    repeats: list[tuple[int, int]] = []
    for i, pair in enumerate(pairs):
        key = (prompt_text(pair.prompt).strip(), pair.chosen.strip(), pair.rejected.strip())
        j = first.setdefault(key, i)
        if j != i:
            repeats.append((i, j))
    return repeats


def _first_places(pairs: Sequence[Pair]) -> dict[str, str]:
    """Where each prompt is for the first time."""
    return {prompt_text(pair.prompt).strip(): pair.where for pair in reversed(pairs)}
