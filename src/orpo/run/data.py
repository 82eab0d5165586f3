"""Read, hold out and tokenise the pairs of a run, and say what became of every row."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console

from orpo.config import DataSection, SourceSection
from orpo.data import (
    ExampleTable,
    RowCounts,
    Single,
    SourceReport,
    SourceSpec,
    hold_out,
    read_examples,
)
from orpo.data.shards import tokenize_examples
from orpo.data.templates import Template, resolve_template
from orpo.data.tokenized import TokenizedPairs
from orpo.data.tokens import PairTokenizer
from orpo.errors import ConfigError
from orpo.modeling.load import LoadedModel
from orpo.text import printable
from orpo.training.progress import counting

log = logging.getLogger(__name__)

AUTO_MAX_LENGTH = 2048

Rows = Iterable[Mapping[str, Any]]


@dataclass(frozen=True)
class PreparedData:
    """Tokenised pairs and the account of how they came to be."""

    train: TokenizedPairs
    eval: TokenizedPairs | None
    template: Template
    max_length: int
    record: Mapping[str, Any]
    """`train` and `eval` sources with their counts and fingerprints, and the counts of tokenisation."""


def prepare_data(
    config: DataSection,
    source: LoadedModel,
    seed: int,
    train_rows: Rows | None,
    eval_rows: Rows | None,
    console: Console | None,
) -> PreparedData:
    """The pairs that `config` names, or the rows in memory that take their place.

    Raises:
        DataError, ConfigError, NetworkError: see `orpo.data`.
    """
    transcripts = "text" if config.template == "none" else "messages"
    train = read_examples(_sources(config.train, train_rows), role="train", transcripts=transcripts)
    _report_sources("train", train.sources)
    held_out: ExampleTable | None = None
    eval_sources: Sequence[SourceReport] = ()
    if eval_rows is not None or isinstance(config.eval, tuple):
        eval_specs = config.eval if isinstance(config.eval, tuple) else ()
        held_out = read_examples(_sources(eval_specs, eval_rows), role="eval", transcripts=transcripts)
        eval_sources = held_out.sources
        _report_sources("eval", eval_sources)
    elif config.eval is not None:
        kept, held = hold_out(train.prompt_keys(), config.eval, seed)
        train, held_out = train.select(kept), train.select(held)
        log.info("eval: %d of these pairs held out", len(held_out))

    max_length = _max_length(config.max_length, source.max_positions)
    tables = {"train": train} | ({"eval": held_out} if held_out is not None else {})
    template = resolve_template(
        source.tokenizer, config.template, (example.prompt for table in tables.values() for example in table)
    )
    pair_tokenizer = PairTokenizer(
        source.tokenizer, template, max_length=max_length, truncation=config.truncation
    )
    tokenized: dict[str, TokenizedPairs] = {}
    token_counts: dict[str, Any] = {}
    for use, table in tables.items():
        counts = RowCounts()
        with counting(console, f"tokenising {use} pairs", len(table)) as progress:
            tokenized[use] = tokenize_examples(table, pair_tokenizer, counts, progress)
        token_counts[use] = _counts_record(counts)
        _log_counts(use, counts, f"pairs kept at max_length {max_length}")
    record = {
        "train": [_source_record(report) for report in train.sources],
        "eval": [_source_record(report) for report in eval_sources],
        "tokens": token_counts,
    }
    return PreparedData(tokenized["train"], tokenized.get("eval"), template, max_length, record)


def _sources(specs: Sequence[SourceSection], rows: Rows | None) -> list[SourceSpec | Rows]:
    return [rows] if rows is not None else [SourceSpec(**spec.model_dump()) for spec in specs]


def _max_length(configured: int | str, positions: int | None) -> int:
    if isinstance(configured, str):
        return min(AUTO_MAX_LENGTH, positions or AUTO_MAX_LENGTH)
    if positions is not None and configured > positions:
        raise ConfigError(
            f"data.max_length: expected at most the model's {positions} positions, got {configured}",
            hint=f"Set data.max_length={positions}, or auto.",
        )
    return configured


def _source_record(report: SourceReport) -> dict[str, Any]:
    return {
        "path": report.name,
        "split": report.split,
        "shape": report.schema,
        "detected": report.detected,
        "fingerprint": report.fingerprint,
        **_counts_record(report.counts),
    }


def _counts_record(counts: RowCounts) -> dict[str, Any]:
    return {
        "read": counts.read,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "notes": dict(counts.notes),
    }


def _report_sources(use: str, reports: Sequence[SourceReport]) -> None:
    """Say what was found, with one example."""
    for report in reports:
        split = f", split {report.split}" if report.split else ""
        log.info("%s: %s%s: detected: %s", use, report.name, split, report.detected)
        if report.unused_columns:
            log.info("%s: columns not used: %s", use, printable(", ".join(report.unused_columns), 200))
        _log_counts(use, report.counts, "rows kept")
        example = report.example
        prompt = (
            example.prompt
            if isinstance(example.prompt, str)
            else " ".join(f"[{turn.role}] {turn.content}" for turn in example.prompt)
        )
        parts = {"prompt": prompt} | (
            {"response": example.response}
            if isinstance(example, Single)
            else {"chosen": example.chosen, "rejected": example.rejected}
        )
        lines = [f"    {name:8}  {printable(text, 100)}" for name, text in parts.items()]
        log.info("\n".join([f"  example {example.where}", *lines]))


def _log_counts(use: str, counts: RowCounts, what: str) -> None:
    """Say what became of every row, a line for each reason."""
    lines = [f"{use}: {counts.kept} of {counts.read} {what}"]
    lines += [
        f"  dropped {number}: {reason} (first: {counts.examples[reason]})"
        for reason, number in counts.dropped.most_common()
    ]
    lines += [f"  kept, with a note, {number}: {note}" for note, number in counts.notes.most_common()]
    log.info("\n".join(lines))
