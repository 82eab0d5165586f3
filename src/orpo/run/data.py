"""The data of a run, from sources to token ids: opened, tokenised or found in the cache, mixed, held out."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain
from typing import Any

from rich.console import Console

from orpo.batch import PromptTokens
from orpo.batch import Rows as Kind
from orpo.config import DataSection
from orpo.data import hold_out
from orpo.data.max_length import resolve_max_length
from orpo.data.preparation import Tokenization
from orpo.data.spec import Role
from orpo.data.templates import Template, resolve_template
from orpo.data.tokenized import TokenizedPairs
from orpo.modeling.load import LoadedModel, LoadedTokenizer
from orpo.objectives import Objective
from orpo.run.accounts import data_record
from orpo.run.sources import Mixture, Opened, Rows, open_sources, prepare_mixture
from orpo.run.usable import usable

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PreparedData:
    """Tokenised pairs and the account of how they came to be."""

    train: TokenizedPairs
    eval: TokenizedPairs | None
    template: Template
    max_length: int
    record: Mapping[str, Any]
    """See `orpo.run.accounts.data_record`."""


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
    opened: dict[Role, list[Opened]] = {
        "train": open_sources(config, "train", config.train, train_rows, keep_unpaired=keep_unpaired)
    }
    if eval_rows is not None or isinstance(config.eval, tuple):
        sections = config.eval if isinstance(config.eval, tuple) else ()
        opened["eval"] = open_sources(config, "eval", sections, eval_rows, keep_unpaired=keep_unpaired)
    prompts = (example.prompt for one in chain(*opened.values()) for example in one.head)
    tokenization = Tokenization(
        template=resolve_template(source.tokenizer, config.template, prompts),
        max_length=resolve_max_length(config.max_length, source.max_positions),
        truncation=config.truncation,
        finds_answers=objective.prompt_tokens is PromptTokens.ANSWERS,
    )
    mixtures: dict[Role, Mixture] = {
        use: prepare_mixture(sources, config, tokenization, source.tokenizer, seed, console)
        for use, sources in opened.items()
    }

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
