"""What became of the data of a run, row by row: as messages to people, and for the record."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from orpo.data import Example, RowCounts, Single, SourceStream
from orpo.data.mixture import Share
from orpo.data.preparation import PreparedSource
from orpo.data.spec import Role
from orpo.data.tokenized import TokenizedPairs
from orpo.text import printable

log = logging.getLogger(__name__)

Mixture = tuple[Sequence[PreparedSource], Sequence[Share]]
"""The sources of one use, and what is used of each."""


def total_counts(sources: Sequence[PreparedSource]) -> RowCounts:
    """What became of the examples of all sources as tokens."""
    total = RowCounts()
    for source in sources:
        total.include(source.counts)
    return total


def data_record(
    mixtures: Mapping[Role, Mixture],
    given: Mapping[Role, TokenizedPairs],
    used: Mapping[Role, TokenizedPairs],
) -> dict[str, Any]:
    """What a run records of its data.

    Args:
        mixtures: by use.
        given: the examples of each use, after holding out.
        used: those that the objective uses; one that takes responses one by one makes two of a pair.

    Returns:
        `train` and `eval`: the sources with their counts, fingerprints and what is used of them; `tokens`:
        the counts of tokenisation; `used`: pairs and single responses, and the examples of no use.
    """
    none: Mixture = ((), ())
    return {
        **{use: list(map(_source_record, *mixtures.get(use, none))) for use in ("train", "eval")},
        "tokens": {use: _counts_record(total_counts(sources)) for use, (sources, _) in mixtures.items()},
        "used": {
            use: {
                "pairs": len(pairs) - pairs.singles,
                "singles": pairs.singles,
                "of_no_use": max(0, len(given[use]) - len(pairs)),
            }
            for use, pairs in used.items()
        },
    }


def report_found(use: Role, stream: SourceStream) -> None:
    """Say what a source is taken for."""
    split = f", split {stream.split}" if stream.split else ""
    log.info("%s: %s%s: detected: %s", use, stream.name, split, stream.detected)
    if stream.unused_columns:
        log.info("%s: columns not used: %s", use, printable(", ".join(stream.unused_columns), 200))


def report_rows(use: Role, source: PreparedSource) -> None:
    """Say what became of the rows of a source, with one example."""
    if source.cached is not None:
        log.info("%s: read from cache %s", use, source.cached)
    _log_counts(use, source.report.counts, "rows kept")
    lines = [f"    {name:8}  {printable(text, 100)}" for name, text in _parts(source.report.example).items()]
    log.info("\n".join([f"  example {source.report.example.where}", *lines]))


def report_tokens(use: Role, counts: RowCounts, max_length: int) -> None:
    """Say what became of the examples as tokens."""
    _log_counts(use, counts, f"examples kept at max_length {max_length}")


def report_left_out(use: Role, sources: Sequence[PreparedSource], shares: Sequence[Share]) -> None:
    """Say what is not used of sources that have a limit."""
    for source, share in zip(sources, shares, strict=True):
        for key, number in _left_out(share).items():
            log.info("%s: %s: left out by %s: %d", use, source.report.name, key, number)


def _left_out(share: Share) -> dict[str, int]:
    """Examples that are not used, by the key that says so."""
    left_out = {"max_rows": share.over_max_rows, "weight": share.over_weight}
    return {key: number for key, number in left_out.items() if number}


def _source_record(source: PreparedSource, share: Share) -> dict[str, Any]:
    report = source.report
    return {
        "path": report.name,
        "split": report.split,
        "shape": report.schema,
        "detected": report.detected,
        "fingerprint": report.fingerprint,
        **_counts_record(report.counts),
        "used": len(share.indices),
        "left_out": _left_out(share),
    }


def _counts_record(counts: RowCounts) -> dict[str, Any]:
    return {
        "read": counts.read,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "notes": dict(counts.notes),
    }


def _parts(example: Example) -> dict[str, str]:
    """The texts of an example by name."""
    prompt = (
        example.prompt
        if isinstance(example.prompt, str)
        else " ".join(f"[{turn.role}] {turn.content}" for turn in example.prompt)
    )
    if isinstance(example, Single):
        return {"prompt": prompt, "response": example.response}
    return {"prompt": prompt, "chosen": example.chosen, "rejected": example.rejected}


def _log_counts(use: Role, counts: RowCounts, what: str) -> None:
    """Say what became of every row, a line for each reason."""
    lines = [f"{use}: {counts.kept} of {counts.read} {what}"]
    lines += [
        f"  dropped {number}: {reason} (first: {counts.examples[reason]})"
        for reason, number in counts.dropped.most_common()
    ]
    lines += [f"  kept, with a note, {number}: {note}" for note, number in counts.notes.most_common()]
    log.info("\n".join(lines))
