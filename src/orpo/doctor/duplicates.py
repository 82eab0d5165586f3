"""Rows that are there twice, within one part of the data and across training and evaluation.

Candidates for near-duplicates come from MinHash (Broder 1997) and banded locality-sensitive hashing; each one
is then compared exactly, so there are no false alarms, and at the limit one in twenty goes unnoticed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from datasketch import MinHash, MinHashLSH

from orpo.data.pairs import Pair, Single, responses_of
from orpo.doctor.findings import Example, Problem, Severity, example
from orpo.doctor.words import Shingles, jaccard, prompt_text, question, shingles, words

EXACT = Problem(
    "duplicate_pairs",
    Severity.WARNING,
    "the same pair, or single response, is there more than once",
    "Keep one of them: repeated rows weigh more and are memorised sooner.",
)
NEAR = Problem(
    "near_duplicate_pairs",
    Severity.NOTE,
    "nearly the same pair, or single response, is there more than once",
    "Look at the examples. Copies with small edits weigh more than other rows and are memorised sooner.",
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


def exact_duplicates(items: Sequence[Pair | Single]) -> list[Example]:
    """Examples that repeat an earlier one, white space at the ends aside."""
    return [
        example(items[i].where, f"as {items[j].where}: {prompt_text(items[i].prompt)}")
        for i, j in _repeats(items)
    ]


def near_duplicates(items: Sequence[Pair | Single]) -> list[Example]:
    """Examples that nearly repeat an earlier one: as a whole, and in their responses.

    Other responses to a long prompt are another example, however much of the text they share.
    """
    repeated = {i for i, _ in _repeats(items)}
    index = NearIndex()
    hits: list[Example] = []
    for i, item in enumerate(items):
        sketch = sketch_of(f"{question(item.prompt)}\n{_responses(item)}")
        if i in repeated or sketch is None:
            continue
        responses = shingles(_responses(item))
        near = (
            j for j in index.matches(sketch) if jaccard(shingles(_responses(items[j])), responses) >= SIMILAR
        )
        earlier = next(near, None)
        if earlier is not None:
            hits.append(example(item.where, f"nearly {items[earlier].where}: {prompt_text(item.prompt)}"))
        index.add(sketch, i)
    return hits


def shared_prompts(train: Sequence[Pair | Single], evaluation: Sequence[Pair | Single]) -> list[Example]:
    """Evaluation examples whose prompt is also one of training."""
    first = _first_places(train)
    return [
        example(item.where, f"as {first[key]}: {key}")
        for item in evaluation
        if (key := prompt_text(item.prompt).strip()) in first
    ]


def near_shared_prompts(train: Sequence[Pair | Single], evaluation: Sequence[Pair | Single]) -> list[Example]:
    """Evaluation examples whose prompt is nearly, but not exactly, one of training."""
    first = _first_places(train)
    index = NearIndex()
    for i in {question(item.prompt): i for i, item in reversed(list(enumerate(train)))}.values():
        sketch = sketch_of(question(train[i].prompt))
        if sketch is not None:
            index.add(sketch, i)
    hits: list[Example] = []
    for item in evaluation:
        sketch = sketch_of(question(item.prompt))
        if sketch is None or prompt_text(item.prompt).strip() in first:
            continue
        near = next(index.matches(sketch), None)
        if near is not None:
            hits.append(example(item.where, f"nearly {train[near].where}: {prompt_text(item.prompt)}"))
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

    def matches(self, sketch: Sketch, skip: Callable[[int], bool] = lambda key: False) -> Iterator[int]:
        """The keys of the remembered texts that are near, in ascending order.

        Args:
            sketch: of the text that may repeat them.
            skip: keys for which it does not matter, asked when their turn comes.
        """
        candidates = sorted(key for key in self._lsh.query(sketch.minhash) if isinstance(key, int))
        return (
            key
            for key in candidates
            if not skip(key) and jaccard(self._hashes[key], sketch.hashes) >= SIMILAR
        )


def _responses(item: Pair | Single) -> str:
    return "\n".join(responses_of(item))


def _repeats(items: Sequence[Pair | Single]) -> list[tuple[int, int]]:
    """The index of each repeated example, with that of the one which it repeats."""
    first: dict[tuple[str, ...], int] = {}
    repeats: list[tuple[int, int]] = []
    for i, item in enumerate(items):
        key = (prompt_text(item.prompt).strip(), *(response.strip() for response in responses_of(item)))
        j = first.setdefault(key, i)
        if j != i:
            repeats.append((i, j))
    return repeats


def _first_places(items: Sequence[Pair | Single]) -> dict[str, str]:
    """Where each prompt is for the first time."""
    return {prompt_text(item.prompt).strip(): item.where for item in reversed(items)}
