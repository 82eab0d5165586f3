"""The examination, top to bottom: read, look at the texts, look at the tokens, compare the parts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orpo.data import ExampleTable, Pair, SourceSpec, hold_out, read_examples
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

AUTO_MAX_LENGTH = 2048
"""What `auto` is, unless the model has fewer positions."""

_UNLIMITED = 2**31 - 1

PAIR_CHECKS: tuple[tuple[Problem, Callable[[Sequence[Pair]], list[Example]]], ...] = (
    (responses.NEAR_IDENTICAL, responses.near_identical),
    (responses.SWAPPED, responses.swapped),
    (duplicates.EXACT, duplicates.exact_duplicates),
    (duplicates.NEAR, duplicates.near_duplicates),
    (conversations.ROLES, conversations.roles_out_of_order),
    (conversations.EMPTY_TURN, conversations.empty_turns),
    (characters.MOJIBAKE, characters.mojibake),
    (characters.CONTROL, characters.control_characters),
    (characters.MARKUP, characters.template_tokens),
)
"""What is looked for in the texts of each part."""

CROSS_CHECKS: tuple[tuple[Problem, Callable[[Sequence[Pair], Sequence[Pair]], list[Example]]], ...] = (
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
        ConfigError: a source, the model or the template is not there, or cannot be used.
        DataError: there are too few prompts to hold some out.
        NetworkError: the Hub cannot be reached.
    """
    tables, findings = _read(request)
    pairs = {use: [item for item in table if isinstance(item, Pair)] for use, table in tables.items()}
    view = _view(request, pairs) if pairs else None
    parts: list[Part] = []
    for use, part_pairs in pairs.items():
        log.info("examining %d %s pairs", len(part_pairs), use)
        is_held_out = use == "eval" and isinstance(request.eval, float)
        table = None if is_held_out else tables[use]
        part, part_findings = _examine_part(use, part_pairs, table, view, request.max_dropped)
        parts.append(part)
        findings += part_findings
    if len(pairs) == 2:
        for problem, compare in CROSS_CHECKS:
            hits = compare(pairs["train"], pairs["eval"])
            findings += found(problem, "train and eval", hits, len(pairs["eval"]))
    return Report(tuple(parts), worst_first(findings), _not_run(parts, view), _settings(request, view))


def _read(request: Request) -> tuple[dict[str, ExampleTable], list[Finding]]:
    """The pairs of each use that can be read, and a finding for each that cannot."""
    transcripts = "text" if request.template == "none" else "messages"
    tables: dict[str, ExampleTable] = {}
    findings: list[Finding] = []
    sources: dict[Role, tuple[SourceSpec, ...]] = {"train": request.train}
    if isinstance(request.eval, tuple):
        sources["eval"] = request.eval
    for use, specs in sources.items():
        log.info("reading %s", ", ".join(spec.path for spec in specs))
        try:
            tables[use] = read_examples(specs, role=use, transcripts=transcripts)
        except DataError as error:
            findings.append(reading.unreadable(use, error))
    if isinstance(request.eval, float) and "train" in tables:
        table = tables["train"]
        kept, held_out = hold_out(table.prompt_keys(), request.eval, request.seed)
        tables |= {"train": table.select(kept), "eval": table.select(held_out)}
    return tables, findings


def _view(request: Request, pairs: Mapping[str, Sequence[Pair]]) -> _ModelView | None:
    if request.model is None:
        return None
    from orpo.modeling.load import load_tokenizer  # imports torch, as does what follows

    tokenizer = load_tokenizer(request.model, revision=request.revision)
    prompts = (pair.prompt for part in pairs.values() for pair in part)
    template = resolve_template(tokenizer, request.template, prompts)
    max_length = request.max_length
    if max_length is None:
        max_length = min(AUTO_MAX_LENGTH, _positions(request.model, request.revision) or AUTO_MAX_LENGTH)
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
    use: str, pairs: Sequence[Pair], table: ExampleTable | None, view: _ModelView | None, max_dropped: float
) -> tuple[Part, list[Finding]]:
    """What is found in the pairs of one use.

    Args:
        use: `train` or `eval`.
        pairs: at least one.
        table: where they were read from; None if they were held out of another part.
        view: the model's; None for checks of the texts alone.
        max_dropped: share of the rows that may be dropped.
    """
    findings = [] if table is None else reading.dropped_rows(use, table.counts)
    dropped = 0 if table is None else reading.dropped_by_fault(table.counts)
    rows = dropped + len(pairs)
    hits: dict[Problem, Sequence[Example]] = {problem: find(pairs) for problem, find in PAIR_CHECKS}

    characters_of = lengths.character_lengths(pairs)
    summary = lengths.summarise(characters_of, "characters")
    cuts: tuple[truncation.Cut, ...] = ()
    length_bias = lengths.longer_is_chosen(characters_of)
    hits[lengths.LENGTH_BIAS] = lengths.length_biased(length_bias, pairs, characters_of)
    codes = [languages.language(pair.chosen) for pair in pairs]
    hits[languages.OTHER] = languages.other_languages(pairs, codes)
    word_signal = signal.signal_of_words(pairs)

    if view is not None:
        as_tokens = _examine_tokens(pairs, view)
        hits |= as_tokens.hits
        dropped += as_tokens.dropped
        if len(as_tokens.lengths):
            summary = lengths.summarise(as_tokens.lengths, "tokens")
            cuts = truncation.cuts(as_tokens.lengths, view.max_length)

    findings += [
        finding for problem, where in hits.items() for finding in found(problem, use, where, len(pairs))
    ]
    findings += signal.silence(use, word_signal, length_bias)
    findings += reading.too_many_dropped(use, dropped, rows, max_dropped)
    part = Part(
        use=use,
        pairs=len(pairs),
        sources=() if table is None else table.sources,
        lengths=summary,
        length_bias=length_bias,
        signal=word_signal,
        languages=languages.count_languages(codes),
        cuts=cuts,
    )
    return part, findings


def _examine_tokens(pairs: Sequence[Pair], view: _ModelView) -> _TokenExamination:
    """What is found in the tokens of one part."""
    tokenizer = view.tokenizer
    whole = PairTokenizer(tokenizer, view.template, max_length=_UNLIMITED)
    outcomes = tokens.tokenize_each(pairs, whole)
    usable = tokens.usable(outcomes)
    emptied = truncation.emptied_by_truncation(usable, view.max_length)
    cut = truncation.cut_by_truncation(usable, view.max_length)
    unusable = len(pairs) - len(usable) + len(emptied) + (len(cut) if view.truncation == "drop" else 0)
    renderer = Renderer(tokenizer, view.template)
    hits = (
        tokens.template_faults(pairs, outcomes),
        tokens.dropped_as_tokens(pairs, outcomes),
        tokens.system_swallowed(pairs, outcomes),
        tokens.double_bos(pairs, outcomes, tokenizer),
        tokens.ends_within(pairs, outcomes),
        tokens.unclosed(pairs, outcomes, renderer, tokenizer),
        emptied,
        cut,
    )
    return _TokenExamination(
        dict(zip(TOKEN_CHECKS, hits, strict=True)), unusable, tokens.token_lengths(usable)
    )


def _not_run(parts: Sequence[Part], view: _ModelView | None) -> tuple[NotRun, ...]:
    """The checks for which something was missing."""
    missing: list[NotRun] = []
    if view is None:
        missing += [NotRun(problem.name, "needs a model: --model") for problem in TOKEN_CHECKS]
    if len(parts) < 2:
        missing += [NotRun(problem.name, "needs a config with data.eval") for problem, _ in CROSS_CHECKS]
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
