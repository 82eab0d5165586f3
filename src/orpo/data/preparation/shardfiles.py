"""Shards as Arrow files: written whole, checked by hash, read by mapping them into memory."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from orpo.data.pairs import Example, RowCounts
from orpo.data.preparation.storing import storing
from orpo.data.shards import tokenize_shard
from orpo.data.tokenized import SHARD_SCHEMA, Shard
from orpo.data.tokens import PairTokenizer
from orpo.files import DamagedError, read_sealed, replace_file, sha256_of, write_sealed

_RECORD = ".record.json"
"""How the names of records end."""


@dataclass(frozen=True)
class ShardRecord:
    """A shard that is on disk."""

    name: str
    """Of its file, in the folder of its record."""

    sha256: str
    size: int
    """Bytes."""

    first: str
    last: str
    """Where the first and the last example that went into it are from."""

    stop_ids: tuple[int, ...]
    counts: RowCounts

    def as_json(self) -> dict[str, Any]:
        """The record as JSON holds it."""
        return {**vars(self), "counts": counts_as_json(self.counts)}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> ShardRecord:
        """What `as_json` gave."""
        return cls(
            **{
                **values,
                "stop_ids": tuple(values["stop_ids"]),
                "counts": counts_from_json(values["counts"]),
            }
        )


def write_shard(
    tokenizer: PairTokenizer, folder: Path, number: int, examples: Sequence[Example]
) -> ShardRecord:
    """Tokenise examples into a file of `folder`, with its record beside it.

    Raises:
        DataError, ConfigError: see `PairTokenizer.__call__`.
        ResourceError: the folder cannot be written.
    """
    made = tokenize_shard(examples, tokenizer)
    content = memoryview(_as_file(made.shard))
    record = ShardRecord(
        name=f"{number:05}.arrow",
        sha256=hashlib.sha256(content).hexdigest(),
        size=len(content),
        first=examples[0].where,
        last=examples[-1].where,
        stop_ids=made.stop_ids,
        counts=made.counts,
    )
    with storing(folder):
        replace_file(folder / record.name, content)
        write_sealed(_record_path(folder, number), record.as_json())
    return record


def finished_shard(folder: Path, number: int, examples: Sequence[Example]) -> ShardRecord | None:
    """The shard that an earlier, interrupted preparation made of these examples, if it is sound."""
    try:
        record = ShardRecord.from_json(read_sealed(_record_path(folder, number)))
        check_shard(folder, record)
    except DamagedError:
        return None
    made_of = (record.counts.read, record.first, record.last)
    return record if made_of == (len(examples), examples[0].where, examples[-1].where) else None


def forget_records(folder: Path) -> None:
    """Remove the records beside the shards of `folder`."""
    for path in folder.glob(f"*{_RECORD}"):
        path.unlink()


def check_shard(folder: Path, record: ShardRecord) -> None:
    """Compare a file with its record.

    Raises:
        DamagedError: it is not there, or not what was written.
    """
    path = folder / record.name
    try:
        sha256 = sha256_of(path)
    except OSError as error:
        raise DamagedError(f"{record.name}: {error.strerror or error}") from None
    if sha256 != record.sha256:
        raise DamagedError(
            f"{record.name} is not what was written ({path.stat().st_size} of {record.size} bytes)"
        )


def map_shard(path: Path) -> Shard:
    """A shard whose columns stay in its file, which the system reads where they are looked at.

    Raises:
        DamagedError: it is not there, or not a shard.
    """
    try:
        # The mapping outlives the file handle: thousands of shards need not stay open.
        with pa.memory_map(str(path)) as file:
            return Shard(pa.ipc.open_file(file).get_batch(0))
    except (OSError, pa.ArrowException) as error:
        raise DamagedError(f"{path.name} cannot be read: {error}") from None


def counts_as_json(counts: RowCounts) -> dict[str, Any]:
    """Counts as JSON holds them, reasons in their order."""
    return {
        "read": counts.read,
        "kept": counts.kept,
        "dropped": dict(counts.dropped),
        "examples": dict(counts.examples),
        "notes": dict(counts.notes),
    }


def counts_from_json(values: Mapping[str, Any]) -> RowCounts:
    """What `counts_as_json` was given."""
    return RowCounts(
        read=values["read"],
        kept=values["kept"],
        dropped=Counter(values["dropped"]),
        examples=dict(values["examples"]),
        notes=Counter(values["notes"]),
    )


def _as_file(shard: Shard) -> pa.Buffer:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, SHARD_SCHEMA) as writer:
        writer.write_batch(shard.batch)
    return sink.getvalue()


def _record_path(folder: Path, number: int) -> Path:
    return folder / f"{number:05}{_RECORD}"
