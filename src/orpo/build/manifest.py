"""The account of what was built, for programs: `manifest.json`, which docs/build.md describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any

from orpo.build.provenance import Item
from orpo.build.request import Portion, Request
from orpo.data import Pair, RowCounts, SourceReport
from orpo.data.spec import Role
from orpo.doctor import findings

VERSION = 1
"""Raised when a key changes its meaning or goes away."""


@dataclass(frozen=True)
class Reading:
    """What was read from one source."""

    use: Role
    portion: Portion
    name: str
    """Public name."""

    report: SourceReport
    counts: RowCounts
    """Those of the report, with public names of places."""

    items: Sequence[Item]


@dataclass(frozen=True)
class Dataset:
    """What is to be written, and how it came to be."""

    readings: Sequence[Reading]

    counts: Mapping[Role, RowCounts]
    """What the cleaning did to the examples of each use that has sources."""

    splits: Mapping[Role, Sequence[Item]]

    near: Mapping[Role, Sequence[findings.Example]]
    """The pairs of each split that are nearly an earlier one."""


def as_manifest(request: Request, dataset: Dataset, files: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON object with everything that determines the files, and nothing that does not.

    Args:
        request: what was asked for.
        dataset: what came of it.
        files: name, rows, bytes and hash of what was written.
    """
    return {
        "version": VERSION,
        "orpo": version("orpo"),
        "settings": {
            "eval": "sources" if isinstance(request.eval, tuple) else request.eval,
            "seed": request.seed,
            "near_duplicates": request.near_duplicates.value,
            "transcripts": request.transcripts,
            "format": request.format.value,
        },
        "sources": [_source(reading) for reading in dataset.readings],
        "cleaning": {use: _counts(counts) for use, counts in dataset.counts.items()},
        "splits": {use: _split(items, dataset.near[use]) for use, items in dataset.splits.items()},
        "files": dict(files),
    }


def _source(reading: Reading) -> dict[str, Any]:
    report = reading.report
    return {
        "use": reading.use,
        "name": reading.name,
        "split": report.split,
        "options": _options(reading.portion),
        "schema": report.schema,
        "detected": report.detected,
        "unused_columns": list(report.unused_columns),
        "fingerprint": report.fingerprint,
        "examples": len(reading.items),
        **_counts(reading.counts),
    }


def _options(portion: Portion) -> dict[str, Any]:
    """How the source was read, and how much of it, as far as the user said."""
    spec = portion.spec
    given = {key: value for key, value in asdict(spec).items() if key not in ("path", "split")}
    if spec.columns is not None:
        given["columns"] = {key: column for key, column in spec.columns.items() if column is not None}
    given |= {"weight": portion.weight, "max_rows": portion.max_rows}
    return {key: value for key, value in given.items() if value}


def _counts(counts: RowCounts) -> dict[str, Any]:
    return {
        "read": counts.read,
        "kept": counts.kept,
        "dropped": {
            reason: {"count": number, "first": counts.examples[reason]}
            for reason, number in counts.dropped.most_common()
        },
        "notes": dict(counts.notes),
    }


def _split(items: Sequence[Item], near: Sequence[findings.Example]) -> dict[str, Any]:
    pairs = sum(isinstance(item.example, Pair) for item in items)
    return {
        "pairs": pairs,
        "single_responses": len(items) - pairs,
        "prompts": len({item.example.prompt for item in items}),
        "near_duplicate_pairs": {"count": len(near), "first": near[0].where if near else None},
    }
