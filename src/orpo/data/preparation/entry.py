"""An entry of the cache: the shards of one source and, written last, the manifest that vouches for them."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from orpo.data.pairs import Example, RowCounts
from orpo.data.preparation.recipe import Recipe
from orpo.data.preparation.shardfiles import (
    ShardRecord,
    check_shard,
    counts_as_json,
    counts_from_json,
    finished_shard,
    forget_records,
    map_shard,
)
from orpo.data.preparation.storing import storing
from orpo.data.preparation.workers import Workers, choose_workers, in_order, shard_writer
from orpo.data.read import SourceStream
from orpo.data.shards import cut_into_shards, require_something
from orpo.data.table import SourceReport, to_example, to_row
from orpo.data.tokenized import TokenizedPairs
from orpo.data.tokens import PairTokenizer
from orpo.files import read_sealed, write_sealed

MANIFEST = "manifest.json"


@dataclass(frozen=True)
class PreparedSource:
    """What a source became."""

    pairs: TokenizedPairs

    report: SourceReport
    """What was read."""

    counts: RowCounts
    """What became of each example as tokens."""

    cached: Path | None = None
    """Where it was found, if it had been made before."""


def read_entry(path: Path) -> PreparedSource:
    """What an entry holds, all of it checked.

    Raises:
        DamagedError: a file is not there, or not what was written.
    """
    manifest = read_sealed(path / MANIFEST)
    records = [ShardRecord.from_json(values) for values in manifest["shards"]]
    for record in records:
        check_shard(path, record)
    pairs = TokenizedPairs.of(
        [map_shard(path / record.name) for record in records],
        [stop for record in records for stop in record.stop_ids],
    )
    return PreparedSource(pairs, _report_from_json(manifest["report"]), _total(records), cached=path)


def write_entry(
    path: Path,
    recipe: Recipe,
    stream: SourceStream,
    tokenizer: PairTokenizer,
    workers: Workers,
    progress: Callable[[int], None] | None,
) -> None:
    """Make an entry, going on from the shards that an interrupted attempt has finished.

    Args:
        path: where; nothing is there yet.
        recipe: of the source; it has one.
        stream: the source, of which nothing has been read.
        tokenizer: as the recipe says.
        workers: see `choose_workers`.
        progress: called after each shard with the number of examples it had.

    Raises:
        DataError, ConfigError: see `SourceStream.examples` and `PairTokenizer.__call__`; or nothing is left
            after tokenising.
        ResourceError: the folder cannot be written, or a process died.
    """
    assert stream.fingerprint is not None
    unfinished = path.with_name(f"{path.name}.partial")
    with storing(path.parent):
        unfinished.mkdir(parents=True, exist_ok=True)
    first = next(stream.examples)
    records = _write_shards(unfinished, chain([first], stream.examples), tokenizer, workers, progress)
    counts = _total(records)
    if not counts.kept:
        shutil.rmtree(unfinished, ignore_errors=True)
    require_something(counts)
    with storing(path.parent):
        write_sealed(
            unfinished / MANIFEST,
            {
                "made_of": recipe.ingredients,
                "report": _report_as_json(stream.report(stream.fingerprint, first)),
                "shards": [record.as_json() for record in records],
            },
        )
        forget_records(unfinished)
        unfinished.rename(path)


def _write_shards(
    folder: Path,
    examples: Iterable[Example],
    tokenizer: PairTokenizer,
    workers: Workers,
    progress: Callable[[int], None] | None,
) -> list[ShardRecord]:
    """Make the shards of some examples, but for those that are there."""
    number_of_workers, batches = choose_workers(workers, enumerate(cut_into_shards(examples)))
    records: list[ShardRecord] = []
    with shard_writer(tokenizer, folder, number_of_workers) as begin:
        futures = (_finished(folder, *batch) or begin(*batch) for batch in batches)
        for record in in_order(futures, under_way=number_of_workers + 1):
            records.append(record)
            if progress is not None:
                progress(record.counts.read)
    return records


def _finished(folder: Path, number: int, examples: Sequence[Example]) -> Future[ShardRecord] | None:
    record = finished_shard(folder, number, examples)
    if record is None:
        return None
    future: Future[ShardRecord] = Future()
    future.set_result(record)
    return future


def _total(records: Sequence[ShardRecord]) -> RowCounts:
    total = RowCounts()
    for record in records:
        total.include(record.counts)
    return total


def _report_as_json(report: SourceReport) -> dict[str, Any]:
    return {**vars(report), "counts": counts_as_json(report.counts), "example": to_row(report.example)}


def _report_from_json(values: Mapping[str, Any]) -> SourceReport:
    fields = {name: tuple(value) if isinstance(value, list) else value for name, value in values.items()}
    counts, example = counts_from_json(values["counts"]), to_example(values["example"])
    return SourceReport(**{**fields, "counts": counts, "example": example})
