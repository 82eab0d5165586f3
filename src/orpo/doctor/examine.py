"""The examination, top to bottom: read, look at the texts, look at the tokens, compare the parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orpo.data import ExampleTable, Pair, Single, SourceSpec, hold_out, read_examples
from orpo.data.max_length import resolve_max_length
from orpo.data.rendering import Renderer
from orpo.data.spec import Role
from orpo.data.templates import Template, resolve_template
from orpo.data.tokens import PairTokenizer, Truncation
from orpo.doctor import (
    characters,
    conversations,
    duplicates,
    languages,
    lengths,
    reading,
    responses,
    signal,
    tokens,
    truncation,
)
from orpo.doctor.findings import Example, Finding, Problem, found, worst_first
from orpo.doctor.report import NotRun, Part, Report
from orpo.doctor.request import Request
from orpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

log = logging.getLogger(__name__)

_UNLIMITED = 2**31 - 1
_UNREAD = "needs what could not be read"

Items = Sequence[Pair | Single]
"""The examples of a part."""

PAIR_CHECKS: tuple[tuple[Problem, Callable[[Sequence[Pair]], list[Example]]], ...] = (
    (responses.NEAR_IDENTICAL, responses.near_identical),
    (responses.SWAPPED, responses.swapped),
)
"""What is looked for in the two responses of each pair."""

TEXT_CHECKS: tuple[tuple[Problem, Callable[[Items], list[Example]]], ...] = (
    (duplicates.EXACT, duplicates.exact_duplicates),
    (duplicates.NEAR, duplicates.near_duplicates),
    (conversations.ROLES, conversations.roles_out_of_order),
    (conversations.EMPTY_TURN, conversations.empty_turns),
    (characters.MOJIBAKE, characters.mojibake),
    (characters.CONTROL, characters.control_characters),
    (characters.MARKUP, characters.template_tokens),
)
"""What is looked for in the texts of each part."""

CROSS_CHECKS: tuple[tuple[Problem, Callable[[Items, Items], list[Example]]], ...] = (
    (duplicates.SHARED_PROMPT, duplicates.shared_prompts),
    (duplicates.NEAR_SHARED_PROMPT, duplicates.near_shared_prompts),
)
"""What is looked for between training and evaluation."""

TOKEN_CHECKS = (
    tokens.TEMPLATE_FAULT,
    tokens.DROPPED_AS_TOKENS,
    tokens.SYSTEM_SWALLOWED,
    tokens.DOUBLE_BOS,
    tokens.END_WITHIN,
    tokens.UNCLOSED,
    truncation.EMPTIED,
    truncation.CUT,
)
"""What only a model's tokenizer can tell."""


@dataclass(frozen=True)
class _ModelView:
    """A tokenizer with the template chosen for the data."""

    tokenizer: PreTrainedTokenizerBase
    template: Template
    max_length: int
    truncation: Truncation


@dataclass(frozen=True)
class _TokenExamination:
    hits: Mapping[Problem, Sequence[Example]]
    dropped: int
    lengths: lengths.PairLengths


def examine(request: Request) -> Report:
    """Everything that is found in the data of `request`; what cannot be read is a finding, too.

    Raises:
        ConfigError: a source, the model or the template is not there, or cannot be used; or the model has not
            so many positions.
        DataError: there are too few prompts to hold some out.
        NetworkError: the Hub cannot be reached.
    """
    tables, findings = _read(request)
    items = {use: list(table) for use, table in tables.items()}
    view = _view(request, items) if items else None
    parts: list[Part] = []
    for use, part_items in items.items():
        log.info("examining %d %s examples", len(part_items), use)
        is_held_out = use == "eval" and isinstance(request.eval, float)
        table = None if is_held_out else tables[use]
        part, part_findings = _examine_part(use, part_items, table, view, request.max_dropped)
        parts.append(part)
        findings += part_findings
    if len(items) == 2:
        for problem, compare in CROSS_CHECKS:
            hits = compare(items["train"], items["eval"])
            findings += found(problem, "train and eval", hits, len(items["eval"]))
    return Report(
        tuple(parts), worst_first(findings), _not_run(request, parts, view), _settings(request, view)
    )


def _read(request: Request) -> tuple[dict[str, ExampleTable], list[Finding]]:
    """The examples of each use that can be read, and a finding for each that cannot."""
    transcripts = "text" if request.template == "none" else "messages"
    tables: dict[str, ExampleTable] = {}
    findings: list[Finding] = []
    sources: dict[Role, tuple[SourceSpec, ...]] = {"train": request.train}
    if isinstance(request.eval, tuple):
        sources["eval"] = request.eval
    for use, specs in sources.items():
        log.info("reading %s", ", ".join(spec.path for spec in specs))
        try:
            tables[use] = read_examples(
                specs, role=use, transcripts=transcripts, keep_unpaired=request.keep_unpaired
            )
        except DataError as error:
            findings.append(reading.unreadable(use, error))
    if isinstance(request.eval, float) and "train" in tables:
        table = tables["train"]
        kept, held_out = hold_out(table.prompt_keys(), request.eval, request.seed)
        tables |= {"train": table.select(kept), "eval": table.select(held_out)}
    return tables, findings


def _view(request: Request, items: Mapping[str, Items]) -> _ModelView | None:
    if request.model is None:
        return None
    from orpo.modeling.load import load_tokenizer  # imports torch, as does what follows

    tokenizer = load_tokenizer(request.model, revision=request.revision)
    prompts = (item.prompt for part in items.values() for item in part)
    template = resolve_template(tokenizer, request.template, prompts)
    max_length = resolve_max_length(request.max_length, _positions(request.model, request.revision))
    return _ModelView(tokenizer, template, max_length, request.truncation)


def _positions(name: str, revision: str | None) -> int | None:
    """Tokens that a model has positions for; None if it does not say, or is a tokenizer alone."""
    from transformers import AutoConfig

    from orpo.modeling.hub import loading

    try:
        with loading("model", name, revision) as place:
            config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
    except ConfigError:
        return None
    return getattr(config, "max_position_embeddings", None)


def _examine_part(
    use: str, items: Items, table: ExampleTable | None, view: _ModelView | None, max_dropped: float
) -> tuple[Part, list[Finding]]:
    """What is found in the examples of one use.

    Args:
        use: `train` or `eval`.
        items: at least one.
        table: where they were read from; None if they were held out of another part.
        view: the model's; None for checks of the texts alone.
        max_dropped: share of the rows that may be dropped.
    """
    findings = [] if table is None else reading.dropped_rows(use, table.counts)
    dropped = 0 if table is None else reading.dropped_by_fault(table.counts)
    rows = dropped + len(items)
    pairs = [item for item in items if isinstance(item, Pair)]
    pair_lengths = lengths.character_lengths(pairs)
    length_bias = lengths.longer_is_chosen(pair_lengths)
    word_signal = signal.signal_of_words(pairs)
    of_pairs: dict[Problem, Sequence[Example]] = {problem: find(pairs) for problem, find in PAIR_CHECKS}
    of_pairs[lengths.LENGTH_BIAS] = lengths.length_biased(length_bias, pairs, pair_lengths)

    of_all: dict[Problem, Sequence[Example]] = {problem: find(items) for problem, find in TEXT_CHECKS}
    codes = languages.languages_of(items)
    of_all[languages.OTHER] = languages.other_languages(items, codes)
    summary = lengths.summarise(lengths.character_lengths(items), "characters")
    cuts: tuple[truncation.Cut, ...] = ()
    if view is not None:
        as_tokens = _examine_tokens(items, view)
        of_all |= as_tokens.hits
        dropped += as_tokens.dropped
        if len(as_tokens.lengths):
            summary = lengths.summarise(as_tokens.lengths, "tokens")
            cuts = truncation.cuts(as_tokens.lengths, view.max_length)

    for hits, total in ((of_pairs, len(pairs)), (of_all, len(items))):
        for problem, where in hits.items():
            findings += found(problem, use, where, total)
    findings += signal.silence(use, word_signal, length_bias)
    findings += reading.too_many_dropped(use, dropped, rows, max_dropped)
    part = Part(
        use=use,
        pairs=len(pairs),
        singles=len(items) - len(pairs),
        sources=() if table is None else table.sources,
        lengths=summary,
        length_bias=length_bias,
        signal=word_signal,
        languages=languages.count_languages(codes),
        cuts=cuts,
    )
    return part, findings


def _examine_tokens(items: Items, view: _ModelView) -> _TokenExamination:
    """What is found in the tokens of one part."""
    tokenizer = view.tokenizer
    whole = PairTokenizer(tokenizer, view.template, max_length=_UNLIMITED)
    outcomes = tokens.tokenize_each(items, whole)
    usable = tokens.usable(outcomes)
    emptied = truncation.emptied_by_truncation(usable, view.max_length)
    cut = truncation.cut_by_truncation(usable, view.max_length)
    unusable = len(items) - len(usable) + len(emptied) + (len(cut) if view.truncation == "drop" else 0)
    renderer = Renderer(tokenizer, view.template)
    hits = (
        tokens.template_faults(items, outcomes),
        tokens.dropped_as_tokens(items, outcomes),
        tokens.system_swallowed(items, outcomes),
        tokens.double_bos(items, outcomes, tokenizer),
        tokens.ends_within(items, outcomes),
        tokens.unclosed(items, outcomes, renderer, tokenizer),
        emptied,
        cut,
    )
    return _TokenExamination(
        dict(zip(TOKEN_CHECKS, hits, strict=True)), unusable, tokens.token_lengths(usable)
    )


def _not_run(request: Request, parts: Sequence[Part], view: _ModelView | None) -> tuple[NotRun, ...]:
    """The checks for which something was missing."""
    missing: list[NotRun] = []
    if view is None:
        reason = "needs a model: --model" if request.model is None else _UNREAD
        missing += [NotRun(problem.name, reason) for problem in TOKEN_CHECKS]
    if len(parts) < 2:
        reason = "needs a config with data.eval" if request.eval is None else _UNREAD
        missing += [NotRun(problem.name, reason) for problem, _ in CROSS_CHECKS]
    missing += [
        NotRun(
            "signal", f"{part.use}: needs {signal.FEWEST_PAIRS} pairs of various prompts, has {part.pairs}"
        )
        for part in parts
        if part.signal is None
    ]
    return tuple(missing)


def _settings(request: Request, view: _ModelView | None) -> dict[str, str | int | float]:
    settings: dict[str, str | int | float] = {"max_dropped": request.max_dropped}
    if view is not None and request.model is not None:
        settings |= {
            "model": request.model,
            "template": view.template.name,
            "max_length": view.max_length,
            "truncation": view.truncation,
        }
    return settings
