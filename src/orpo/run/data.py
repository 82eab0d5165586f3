"""The data of a run, from sources to token ids: opened, tokenised or found in the cache, mixed, held out."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

from rich.console import Console
from transformers import PreTrainedTokenizerBase

from orpo.batch import PromptTokens
from orpo.batch import Rows as Kind
from orpo.config import DataSection, SourceSection
from orpo.data import Example, MemorySource, SourceSpec, SourceStream, hold_out, stream_examples
from orpo.data.max_length import resolve_max_length
from orpo.data.mixture import Ingredient, Share, mix, require_weights
from orpo.data.preparation import PreparedSource, Reading, Recipe, Tokenization, prepare_source
from orpo.data.spec import IN_MEMORY, Role
from orpo.data.templates import Template, resolve_template
from orpo.data.tokenized import TokenizedPairs
from orpo.modeling.load import LoadedModel, LoadedTokenizer
from orpo.objectives import Objective
from orpo.run.accounts import (
    data_record,
    report_found,
    report_left_out,
    report_rows,
    report_tokens,
    total_counts,
)
from orpo.run.usable import usable
from orpo.training.progress import counting

log = logging.getLogger(__name__)

_HEAD = 100
"""Examples of each source that the template is chosen for."""

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class PreparedData:
    """Tokenised pairs and the account of how they came to be."""

    train: TokenizedPairs
    eval: TokenizedPairs | None
    template: Template
    max_length: int
    record: Mapping[str, Any]
    """See `orpo.run.accounts.data_record`."""


@dataclass(frozen=True)
class _Opened:
    """A source of which nothing but the first examples has been read."""

    section: SourceSection
    reading: Reading
    stream: SourceStream

    head: tuple[Example, ...]
    """Its first examples, which the stream gives all the same."""


@dataclass(frozen=True)
class _Mixture:
    """The sources of one use as tokens, and what is used of them."""

    sources: Sequence[PreparedSource]
    shares: Sequence[Share]

    @property
    def pairs(self) -> TokenizedPairs:
        """What is used."""
        both = zip(self.sources, self.shares, strict=True)
        return TokenizedPairs.joined([source.pairs.select(share.indices) for source, share in both])


def prepare_data(
    config: DataSection,
    objective: Objective,
    source: LoadedModel | LoadedTokenizer,
    seed: int,
    train_rows: Rows | None,
    eval_rows: Rows | None,
    console: Console | None,
) -> PreparedData:
    """The rows that `config` names, or those in memory in their place, as far as `objective` uses them.

    Args:
        config: which data, and how they become tokens.
        objective: what is to learn from them.
        source: what the model's tokenizer and positions are taken from; the template becomes the tokenizer's.
        seed: what is held out, and what is used of sources that are not used whole.
        train_rows: rows in memory to use instead of `config.train`.
        eval_rows: rows in memory to use instead of `config.eval`.
        console: where to show progress; None shows none.

    Raises:
        DataError, ConfigError, NetworkError: see `orpo.data`.
        ResourceError: see `prepare_source`.
    """
    keep_unpaired = objective.rows is Kind.RESPONSES
    opened: dict[Role, list[_Opened]] = {
        "train": _open(config, "train", config.train, train_rows, keep_unpaired)
    }
    if eval_rows is not None or isinstance(config.eval, tuple):
        sections = config.eval if isinstance(config.eval, tuple) else ()
        opened["eval"] = _open(config, "eval", sections, eval_rows, keep_unpaired)
    prompts = (example.prompt for one in chain(*opened.values()) for example in one.head)
    tokenization = Tokenization(
        template=resolve_template(source.tokenizer, config.template, prompts),
        max_length=resolve_max_length(config.max_length, source.max_positions),
        truncation=config.truncation,
        finds_answers=objective.prompt_tokens is PromptTokens.ANSWERS,
    )
    mixtures: dict[Role, _Mixture] = {}
    for use, sources in opened.items():
        prepared = [_prepare(one, config, tokenization, source.tokenizer, console) for one in sources]
        report_tokens(use, total_counts(prepared), tokenization.max_length)
        mixtures[use] = _mixture(sources, prepared, seed)
        report_left_out(use, mixtures[use].sources, mixtures[use].shares)

    pairs: dict[Role, TokenizedPairs] = {use: mixture.pairs for use, mixture in mixtures.items()}
    if isinstance(config.eval, float) and eval_rows is None:
        kept, held = hold_out(pairs["train"].prompt_keys(), config.eval, seed)
        log.info("eval: %d of these examples held out", len(held))
        pairs |= {"train": pairs["train"].select(kept), "eval": pairs["train"].select(held)}
    if not objective.uses_margins and any(given.has_margins for given in pairs.values()):
        log.info("margins of the pairs are not used: only a reward model's loss has them")
    used: dict[Role, TokenizedPairs] = {use: usable(use, given, objective) for use, given in pairs.items()}
    record = data_record({use: (one.sources, one.shares) for use, one in mixtures.items()}, pairs, used)
    return PreparedData(
        used["train"], used.get("eval"), tokenization.template, tokenization.max_length, record
    )


def cache_folder(configured: str) -> Path:
    """The folder of the token cache: the one that is configured, or for `auto` the user's."""
    if configured != "auto":
        return Path(configured).expanduser()
    own = os.environ.get("ORPO_CACHE")
    if own:
        return Path(own).expanduser() / "tokens"
    return Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "orpo" / "tokens"


def _open(
    config: DataSection,
    use: Role,
    sections: Sequence[SourceSection],
    rows: Rows | None,
    keep_unpaired: bool,
) -> list[_Opened]:
    """The sources of one use, or the rows that take their place."""
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


def _opened(section: SourceSection, reading: Reading, source: SourceSpec | MemorySource) -> _Opened:
    stream = stream_examples(
        source, role=reading.role, transcripts=reading.transcripts, keep_unpaired=reading.keep_unpaired
    )
    head = tuple(islice(stream.examples, _HEAD))
    return _Opened(section, reading, replace(stream, examples=chain(head, stream.examples)), head)


def _prepare(
    opened: _Opened,
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


def _mixture(opened: Sequence[_Opened], prepared: Sequence[PreparedSource], seed: int) -> _Mixture:
    ingredients = [
        Ingredient(one.stream.name, len(made.pairs), one.section.weight, one.section.max_rows)
        for one, made in zip(opened, prepared, strict=True)
    ]
    return _Mixture(prepared, mix(ingredients, seed))
