"""From a micro-batch back to its pairs: what the model is given, found by following what is scored."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from orpo.batch import MicroBatch
from orpo.preview.terms import Terms

Text = tuple[int, ...]
"""Places in the flattened rows of what the model reads as one text, in its order."""


@dataclass(frozen=True)
class Token:
    """A token as the micro-batch holds it."""

    id: int

    row: int
    column: int
    """Where `input_ids` has it."""

    position: int
    """Its position in its text; a rejected response goes on from the prompt."""

    terms: Terms
    """The terms of the loss that its log-probability is in."""


@dataclass(frozen=True)
class PairTokens:
    """The tokens of one pair; a missing response has none."""

    prompt: tuple[Token, ...]
    chosen: tuple[Token, ...]
    rejected: tuple[Token, ...]
    weight: float


def texts_of(batch: MicroBatch) -> list[Text]:
    """The texts that a micro-batch holds, without padding, which comes after what is scored."""
    if batch.attention is not None:
        places = batch.attention.key_index.tolist()
        return [tuple(places[start:end]) for start, end in pairwise(batch.attention.key_offsets.tolist())]
    width = batch.input_ids.shape[1]
    last_scoring = {place // width: place for place in sorted(batch.rows.tolist())}
    return [tuple(range(row * width, place + 2)) for row, place in last_scoring.items()]


def unpack(batch: MicroBatch, terms: Sequence[Terms]) -> list[PairTokens]:
    """The B pairs of a micro-batch in any layout.

    Args:
        batch: what the model is given.
        terms: (N,) terms of the loss that each scored token is in.
    """
    unpacker = _Unpacker(batch, terms)
    return [unpacker.pair(i) for i in range(len(batch.weight))]


class _Unpacker:
    def __init__(self, batch: MicroBatch, terms: Sequence[Terms]) -> None:
        self._size, self._width = len(batch.weight), batch.input_ids.shape[1]
        self._ids: list[int] = batch.input_ids.flatten().tolist()
        self._positions: list[int] | None = (
            None if batch.attention is None else batch.attention.position_ids[0].tolist()
        )
        self._rows: list[int] = batch.rows.tolist()
        self._targets: list[int] = batch.targets.tolist()
        self._segments: list[int] = batch.segments.tolist()
        self._offsets = batch.offsets
        self._weights: list[float] = batch.weight.tolist()
        self._terms = terms
        self._texts_at: defaultdict[int, list[Text]] = defaultdict(list)
        for text in texts_of(batch):
            for place in text:
                self._texts_at[place].append(text)

    def pair(self, index: int) -> PairTokens:
        chosen, rejected, prompt = self._scored(index)
        before_chosen, chosen_text = self._branch(chosen)
        before_rejected, rejected_text = self._branch(rejected)
        before = before_chosen or before_rejected
        assert self._ids_at(before_rejected or before) == self._ids_at(before)
        # A row of the hidden states predicts the next token of its text.
        scored_after = {self._rows[number]: number for number in prompt}
        scored = {place: scored_after[last] for last, place in pairwise(before) if last in scored_after}
        assert self._ids_at(tuple(scored)) == [self._targets[number] for number in prompt]
        return PairTokens(
            prompt=self._tokens(before, scored),
            chosen=self._tokens(chosen_text, dict(zip(chosen_text, chosen, strict=True))),
            rejected=self._tokens(rejected_text, dict(zip(rejected_text, rejected, strict=True))),
            weight=self._weights[index],
        )

    def _scored(self, index: int) -> tuple[list[int], ...]:
        """Numbers of a pair's scored tokens: chosen, rejected, prompt."""
        numbers: tuple[list[int], ...] = ([], [], [])
        for number in range(self._offsets[index], self._offsets[index + 1]):
            kind, pair = divmod(self._segments[number], self._size)
            assert pair == index
            numbers[kind].append(number)
        return numbers

    def _branch(self, scored: Sequence[int]) -> tuple[Text, Text]:
        """Prompt and response of the text that ends with exactly the `scored` tokens; nothing for none."""
        if not scored:
            return (), ()
        targets = [self._targets[number] for number in scored]
        for text in self._texts_at[self._rows[scored[0]]]:
            start = len(text) - len(targets)
            predictors = list(text[start - 1 : -1])
            if predictors == [self._rows[n] for n in scored] and self._ids_at(text[start:]) == targets:
                return text[:start], text[start:]
        raise AssertionError("scored tokens that no text ends with")

    def _tokens(self, text: Text, scored: dict[int, int]) -> tuple[Token, ...]:
        """The tokens at the places of `text`, of which those in `scored` are scored."""
        return tuple(
            Token(
                id=self._ids[place],
                row=place // self._width,
                column=place % self._width,
                position=place % self._width if self._positions is None else self._positions[place],
                terms=self._terms[scored[place]] if place in scored else Terms.NONE,
            )
            for place in text
        )

    def _ids_at(self, text: Text) -> list[int]:
        return [self._ids[place] for place in text]
