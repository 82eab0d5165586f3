"""A preview as one object, from which table, JSON and page are made."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np

from orpo.batch import MicroBatch
from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.preview.pieces import Run, Speller
from orpo.preview.terms import Terms
from orpo.preview.unpack import PairTokens, Token, texts_of, unpack


@dataclass(frozen=True)
class Segment:
    """The prompt or a response of an example."""

    name: str
    """`prompt`, `chosen` or `rejected`."""

    runs: tuple[Run, ...]

    is_cut: bool
    """Whether it is a response without the token that ends it."""

    @property
    def tokens(self) -> Iterator[Token]:
        """Its tokens in order."""
        return (token for run in self.runs for piece in run.pieces for token in piece.tokens)

    @property
    def counts(self) -> Counter[Terms]:
        """Its tokens by the terms of the loss that they are in."""
        return Counter(token.terms for token in self.tokens)


@dataclass(frozen=True)
class Example:
    """A pair, or a single response, as the model is given it."""

    where: str
    """Origin, such as `train.jsonl:17`."""

    weight: float
    """How much it counts in every mean."""

    segments: tuple[Segment, ...]
    """Those that it has: prompt, chosen, rejected."""

    @property
    def is_single(self) -> bool:
        """Whether it is a response without a counterpart."""
        return len(self.segments) == 2


@dataclass(frozen=True)
class Split:
    """All examples that training or evaluation has."""

    name: str
    """`train` or `eval`."""

    pairs: int

    singles: int
    """Responses without a counterpart."""

    tokens: Mapping[str, int]
    """Their tokens by segment."""


@dataclass(frozen=True)
class Held:
    """What the micro-batch of the examples holds."""

    rows: int
    columns: int

    padding: int
    """Tokens of it that belong to no text."""

    scored: int
    """Tokens whose log-probability is computed."""

    in_nll: int
    in_preference: int
    """Scored tokens that the terms of the loss depend on."""

    @property
    def tokens(self) -> int:
        """All tokens, padding included."""
        return self.rows * self.columns


@dataclass(frozen=True)
class Settings:
    """What decides what the tensors hold."""

    model: str
    """Whose tokenizer it is."""

    objective: Mapping[str, str | float]
    """The section of the configuration."""

    template: str
    max_length: int
    truncation: str
    layout: str


@dataclass(frozen=True)
class Preview:
    """What is shown."""

    settings: Settings
    split: Split
    held: Held
    examples: tuple[Example, ...]


def split_of(name: str, pairs: TokenizedPairs) -> Split:
    """The account of all `pairs`."""
    tokens = pairs.lengths.sum(axis=0, dtype=np.int64).tolist()
    return Split(
        name=name,
        pairs=len(pairs) - pairs.singles,
        singles=pairs.singles,
        tokens=dict(zip(("prompt", "chosen", "rejected"), tokens, strict=True)),
    )


def held_by(batch: MicroBatch, terms: Sequence[Terms]) -> Held:
    """The account of a micro-batch whose scored tokens are in `terms`."""
    rows, columns = batch.input_ids.shape
    return Held(
        rows=rows,
        columns=columns,
        padding=rows * columns - len(set(chain.from_iterable(texts_of(batch)))),
        scored=len(terms),
        in_nll=sum(Terms.NLL in which for which in terms),
        in_preference=sum(Terms.PREFERENCE in which for which in terms),
    )


def examples_of(
    pairs: Sequence[TokenizedPair],
    batch: MicroBatch,
    terms: Sequence[Terms],
    speller: Speller,
    stop_ids: Sequence[int],
) -> tuple[Example, ...]:
    """The examples in a micro-batch, read from its tensors.

    Args:
        pairs: those that the batch was made of, which know where they come from.
        batch: their tensors.
        terms: (N,) terms of each scored token.
        speller: of the model's tokenizer.
        stop_ids: the tokens that end responses.
    """
    return tuple(
        _example(pair.where, tokens, speller, stop_ids)
        for pair, tokens in zip(pairs, unpack(batch, terms), strict=True)
    )


def _example(where: str, tokens: PairTokens, speller: Speller, stop_ids: Sequence[int]) -> Example:
    segments = [Segment("prompt", speller.runs(tokens.prompt), is_cut=False)]
    for name, response in (("chosen", tokens.chosen), ("rejected", tokens.rejected)):
        if response:
            is_cut = response[-1].id not in stop_ids
            segments.append(Segment(name, speller.runs(response, tokens.prompt), is_cut))
    return Example(where, tokens.weight, tuple(segments))
