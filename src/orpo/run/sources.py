"""Sources of examples, opened and then tokenised or found in the cache, and what is used of each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from orpo.config import DataSection, SourceSection
from orpo.data import Example, MemorySource, SourceSpec, SourceStream, stream_examples
from orpo.data.mixture import Ingredient, Share, mix, require_weights
from orpo.data.preparation import PreparedSource, Reading, Recipe, Tokenization, prepare_source
from orpo.data.spec import IN_MEMORY, Role
from orpo.data.tokenized import TokenizedPairs
from orpo.run.accounts import report_found, report_left_out, report_rows, report_tokens, total_counts
from orpo.training.progress import counting

_HEAD = 100
"""Examples of each source that the template is chosen for."""

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class Opened:
    """A source of which nothing but the first examples has been read."""

    section: SourceSection
    reading: Reading
    stream: SourceStream

    head: tuple[Example, ...]
    """Its first examples, which the stream gives all the same."""


@dataclass(frozen=True)
class Mixture:
    """The sources of one use as tokens, and what is used of them."""

    sources: Sequence[PreparedSource]
    shares: Sequence[Share]

    @property
    def pairs(self) -> TokenizedPairs:
        """What is used."""
        both = zip(self.sources, self.shares, strict=True)
        return TokenizedPairs.joined([source.pairs.select(share.indices) for source, share in both])


def cache_folder(configured: str) -> Path:
    """The folder of the token cache: the one that is configured, or for `auto` the user's."""
    if configured != "auto":
        return Path(configured).expanduser()
    own = os.environ.get("ORPO_CACHE")
    if own:
        return Path(own).expanduser() / "tokens"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "orpo" / "tokens"


def open_sources(
    config: DataSection,
    use: Role,
    sections: Sequence[SourceSection],
    rows: Rows | None = None,
    *,
    keep_unpaired: bool,
) -> list[Opened]:
    """The sources of one use, or the rows that take their place.

    Args:
        config: how they are read.
        use: to learn from, or to be evaluated on.
        sections: the sources.
        rows: in memory, to use instead of them.
        keep_unpaired: whether labelled responses without a counterpart are examples.

    Raises:
        DataError, ConfigError, NetworkError: see `orpo.data.read_examples`.
    """
    reading = Reading(
        role=use,
        transcripts="text" if config.template == "none" else "messages",
        keep_unpaired=keep_unpaired,
    )
    if rows is not None:
        # What says how to read a single source is about the rows that replace it.
        section = sections[0] if len(sections) == 1 else SourceSection(path=IN_MEMORY)
        return [_opened(section, reading, MemorySource(rows, SourceSpec(**section.reading())))]
    require_weights([one.path for one in sections], [one.weight for one in sections])
    return [_opened(one, reading, SourceSpec(**one.reading())) for one in sections]


def prepare_mixture(
    opened: Sequence[Opened],
    config: DataSection,
    tokenization: Tokenization,
    tokenizer: PreTrainedTokenizerBase,
    seed: int,
    console: Console | None,
) -> Mixture:
    """The sources of one use as tokens, and what became of their rows said.

    Args:
        opened: at least one.
        config: where tokens are kept, and how many processes make them.
        tokenization: how examples become tokens.
        tokenizer: the model's.
        seed: what is used of sources that are not used whole.
        console: where to show progress; None shows none.

    Raises:
        DataError, ConfigError, ResourceError: see `prepare_source`.
    """
    use = opened[0].reading.role
    prepared = [_prepare(one, config, tokenization, tokenizer, console) for one in opened]
    report_tokens(use, total_counts(prepared), tokenization.max_length)
    mixture = _mixed(opened, prepared, seed)
    report_left_out(use, mixture.sources, mixture.shares)
    return mixture


def _opened(section: SourceSection, reading: Reading, source: SourceSpec | MemorySource) -> Opened:
    stream = stream_examples(
        source, role=reading.role, transcripts=reading.transcripts, keep_unpaired=reading.keep_unpaired
    )
    head = tuple(islice(stream.examples, _HEAD))
    return Opened(section, reading, replace(stream, examples=chain(head, stream.examples)), head)


def _prepare(
    opened: Opened,
    config: DataSection,
    tokenization: Tokenization,
    tokenizer: PreTrainedTokenizerBase,
    console: Console | None,
) -> PreparedSource:
    """The tokens of one source, and what became of its rows said."""
    use, stream = opened.reading.role, opened.stream
    report_found(use, stream)
    with counting(console, f"tokenising {stream.name}") as progress:
        prepared = prepare_source(
            stream,
            Recipe.of(stream, opened.reading, tokenization, tokenizer),
            tokenization.pair_tokenizer(tokenizer),
            folder=cache_folder(config.cache),
            workers=config.workers,
            progress=progress,
        )
    report_rows(use, prepared)
    return prepared


def _mixed(opened: Sequence[Opened], prepared: Sequence[PreparedSource], seed: int) -> Mixture:
    ingredients = [
        Ingredient(one.stream.name, len(made.pairs), one.section.weight, one.section.max_rows)
        for one, made in zip(opened, prepared, strict=True)
    ]
    return Mixture(prepared, mix(ingredients, seed))
