"""Writes rows to data files of every format that the package reads."""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import zstandard

FORMATS = [
    kind + compression
    for kind in (".jsonl", ".ndjson", ".json", ".csv", ".parquet")
    for compression in ("", ".gz", ".zst")
]
"""Every readable file ending."""

PLAIN = [
    {"prompt": "2 + 2 =", "chosen": " 4", "rejected": " 5"},
    {"prompt": "Capital of Fi\nnland?", "chosen": ' "Helsinki"', "rejected": " Turku, ålders"},
]
"""Two rows of plain strings, with what each format has to quote."""


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write `rows` as the name of `path` says."""
    kind, _, compression = path.name.partition(".")[2].partition(".")
    return write_bytes(path, _encode(kind, rows), compression)


def write_bytes(path: Path, content: bytes, compression: str = "") -> Path:
    """Write `content`, compressed as `compression` says: `gz`, `zst` or nothing."""
    match compression:
        case "gz":
            content = gzip.compress(content)
        case "zst":
            content = zstandard.compress(content)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def _encode(kind: str, rows: Sequence[dict[str, Any]]) -> bytes:
    match kind:
        case "jsonl" | "ndjson":
            return "".join(json.dumps(row) + "\n" for row in rows).encode()
        case "json":
            return json.dumps(rows, indent=1).encode()
        case "csv":
            text = io.StringIO()
            writer = csv.DictWriter(text, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)
            return text.getvalue().encode()
        case "parquet":
            sink = io.BytesIO()
            pq.write_table(pa.Table.from_pylist(list(rows)), sink)
            return sink.getvalue()
        case _:
            raise ValueError(kind)
