"""The pairs that a model is evaluated on: those that a run held out, or those of another source."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from rich.console import Console
from transformers import PreTrainedTokenizerBase

from orpo.batch import Rows
from orpo.config import DataSection, SourceSection
from orpo.data import hold_out, prompt_key
from orpo.data.pairs import Prompt
from orpo.data.preparation import Tokenization
from orpo.data.spec import IN_MEMORY, Role
from orpo.data.tokenized import TokenizedPairs
from orpo.data.usable import learnt
from orpo.errors import ConfigError, DataError
from orpo.run.sources import Mixture, Opened, open_sources, prepare_mixture
from orpo.rundir.evaluations import DataUsed

NOT_HELD_OUT = "trained on"
NOT_A_PAIR = "single response"


@dataclass(frozen=True)
class HeldOut:
    """Which pairs are held out of what."""

    data: DataSection
    seed: int
    """Of what is held out, and used of sources that are not used whole."""

    keep_unpaired: bool = False
    """Whether responses without a counterpart are kept while the sources are read."""

    finds_answers: bool = False
    """Whether the assistant's earlier turns are looked for."""

    def of(self, source: str) -> HeldOut:
        """All pairs of another source instead."""
        sections = (SourceSection(path=source),)
        return HeldOut(self.data.model_copy(update={"train": sections, "eval": sections}), self.seed)

    @property
    def role(self) -> Role:
        """Which of the sources they are from."""
        return "train" if isinstance(self.data.eval, float) else "eval"

    def open(self) -> list[Opened]:
        """The sources.

        Raises:
            ConfigError: there are none, or they were rows in memory.
            DataError, NetworkError: see `orpo.data.read_examples`.
        """
        sections = self.data.eval if isinstance(self.data.eval, tuple) else self.data.train
        assert self.data.eval is not None
        if any(section.path == IN_MEMORY for section in sections):
            raise ConfigError(
                "the run's held-out pairs were rows in memory, which it has not kept",
                hint="Name a file of pairs with --pairs SOURCE.",
            )
        return open_sources(self.data, self.role, sections, keep_unpaired=self.keep_unpaired)


@dataclass(frozen=True)
class EvaluationPairs:
    """Pairs to evaluate on, with the account of the rest."""

    tokens: TokenizedPairs
    sources: Sequence[str]
    """(N,) the name of each pair's source."""

    used: DataUsed

    @property
    def fingerprint(self) -> str:
        """Hash of which pairs these are, as tokens and by their places."""
        digest = hashlib.sha256(self.tokens.lengths.tobytes())
        for part in (*self.tokens.prompt_keys(), *map(str.encode, self.tokens.where())):
            digest.update(part)
        return digest.hexdigest()

    @property
    def prompt_numbers(self) -> list[int]:
        """(N,) numbers of the prompts, in the order in which they first come."""
        numbers: dict[bytes, int] = {}
        return [numbers.setdefault(key, len(numbers)) for key in self.tokens.prompt_keys()]


def read_pairs(
    held_out: HeldOut,
    tokenization: Callable[[Iterable[Prompt]], Tokenization],
    tokenizer: PreTrainedTokenizerBase,
    console: Console | None,
) -> tuple[EvaluationPairs, Tokenization]:
    """The pairs as tokens, and how they became tokens.

    Args:
        held_out: which.
        tokenization: given the first prompts of the sources, how they become tokens.
        tokenizer: the model's.
        console: where to show progress; None shows none.

    Raises:
        ConfigError, DataError, NetworkError, ResourceError: see `HeldOut.open` and `prepare_mixture`.
        DataError: none of the rows is a pair.
    """
    opened = held_out.open()
    how = tokenization(example.prompt for one in opened for example in one.head)
    mixture = prepare_mixture(opened, held_out.data, how, tokenizer, held_out.seed, console)
    given = mixture.pairs
    fraction = held_out.data.eval
    held = (
        given.select(hold_out(given.prompt_keys(), fraction, held_out.seed)[1])
        if isinstance(fraction, float)
        else given
    )
    pairs = learnt(held, Rows.PAIRS)
    if not len(pairs):
        raise DataError(
            f"none of the {len(held)} examples to evaluate on is a pair of a chosen and a rejected response",
            hint="Name a file of pairs with --pairs SOURCE.",
        )
    sizes = np.cumsum([sum(map(len, source.pairs.shards)) for source in mixture.sources])
    names = [source.report.name for source in mixture.sources]
    numbers = np.searchsorted(sizes, pairs.rows, side="right")
    dropped = Counter({NOT_HELD_OUT: len(given) - len(held), NOT_A_PAIR: len(held) - len(pairs)})
    return EvaluationPairs(
        pairs, [names[i] for i in numbers], _used(mixture, names, len(pairs), dropped)
    ), how


def _used(mixture: Mixture, names: Sequence[str], count: int, dropped: Counter[str]) -> DataUsed:
    """The account of every row, from the file to the figures."""
    reasons: Counter[str] = Counter()
    for source, share in zip(mixture.sources, mixture.shares, strict=True):
        reasons += source.report.counts.dropped + source.counts.dropped
        reasons += Counter({"over max_rows": share.over_max_rows, "over weight": share.over_weight})
    return DataUsed(
        source=", ".join(dict.fromkeys(names)),
        read=sum(source.report.counts.read for source in mixture.sources),
        count=count,
        dropped=dict((reasons + dropped).most_common()),
    )


def prompts_of(held_out: HeldOut, pairs: TokenizedPairs) -> Mapping[bytes, Prompt]:
    """The prompts of pairs by what tells them apart, read again from where the pairs are from."""
    wanted = set(pairs.prompt_keys())
    examples = chain.from_iterable(one.stream.examples for one in held_out.open())
    found = ((prompt_key(example.prompt), example.prompt) for example in examples)
    return {key: prompt for key, prompt in found if key in wanted}
