"""Rows of data files, each with its place in the file, so that every complaint can name it.

The readers are our own because the usual ones report a corrupt line without its number, take a cut file for
a complete one, or guess types from the first rows.  Rows are streamed; only a `.json` list is read whole.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq

from orpo.data.decompress import COMPRESSIONS, open_data
from orpo.errors import DataError

_FORMATS = {".jsonl": "jsonl", ".ndjson": "jsonl", ".json": "json", ".csv": "csv", ".parquet": "parquet"}

KNOWN_ENDINGS = ", ".join(f"`{ending}`" for ending in _FORMATS) + "; each also with `.gz` or `.zst` after it"
"""The readable file endings, for messages."""

_EXCERPT = 60
_PARQUET_BATCH = 1024
_CSV_FIELD_LIMIT = 2**31 - 1

JsonObject = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a source, as it was found."""

    where: str
    """`train.jsonl:17` (lines, from 1) or `train.parquet row 17` (rows, from 1)."""

    values: JsonObject
    """Values by column."""


def file_format(path: Path) -> str | None:
    """`jsonl`, `json`, `csv` or `parquet`, by the name of the file, compressed or not; None for others."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSIONS:
        suffixes.pop()
    return _FORMATS.get(suffixes[-1]) if suffixes else None


def read_rows(path: Path) -> Iterator[Row]:
    """The rows of one data file, in its order.

    Raises:
        DataError: the file is empty, damaged, of an unknown format, or has a row that is not an object.
    """
    match file_format(path):
        case "jsonl":
            rows = _read_json_lines(path)
        case "json":
            rows = _read_json_lines(path) if _holds_json_lines(path) else _read_json_list(path)
        case "csv":
            rows = _read_csv(path)
        case "parquet":
            rows = _read_parquet(path)
        case _:
            raise DataError(f"{path}: not a data file", hint=f"Known file endings: {KNOWN_ENDINGS}.")
    return _at_least_one(rows, path)


def _at_least_one(rows: Iterator[Row], path: Path) -> Iterator[Row]:
    first = next(rows, None)
    if first is None:
        raise DataError(f"{path}: the file holds no rows")
    yield first
    yield from rows


def _read_json_lines(path: Path) -> Iterator[Row]:
    for number, line in _text_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        # Without its line end, so that a line that breaks off is not blamed on the next one.
        yield Row(where, _object(_parse_json(line.rstrip("\r\n"), path, number), where))


def _read_json_list(path: Path) -> Iterator[Row]:
    text = "".join(line for _, line in _text_lines(path))
    values = _parse_json(text, path, None) if text.strip() else []
    if not isinstance(values, list):
        raise DataError(
            f"{path}: expected a list of objects, got {_kind(values)}",
            hint="If the rows are under a key of that object, save only them; one object per line works too.",
        )
    for number, value in enumerate(values, start=1):
        where = f"{path} row {number}"
        yield Row(where, _object(value, where))


def _holds_json_lines(path: Path) -> bool:
    """Whether the first line of a `.json` file is an object by itself: JSON lines under the wrong name."""
    first = next((line for _, line in _text_lines(path) if line.strip()), "")
    if not first.lstrip().startswith("{"):
        return False
    try:
        json.loads(first)
    except (ValueError, RecursionError):
        return False
    return True


def _read_csv(path: Path) -> Iterator[Row]:
    csv.field_size_limit(_CSV_FIELD_LIMIT)  # the default refuses texts of more than 128 KiB
    # strict: an unclosed quote is an error, rather than one field with the rest of the file in it
    reader = csv.reader((line for _, line in _text_lines(path)), strict=True)
    header: list[str] | None = None
    while True:
        where = f"{path}:{reader.line_num + 1}"
        try:
            fields = next(reader, None)
        except csv.Error as error:
            raise DataError(
                f"{where}: corrupt CSV, {error}",
                hint="Look for a quote that is not closed, or not doubled, in this row.",
            ) from error
        if fields is None:
            return
        if not fields:
            continue
        if header is None:
            header = fields
            _refuse_duplicates(header, where)
        elif len(fields) != len(header):
            raise DataError(f"{where}: expected {len(header)} fields, as in the header, got {len(fields)}")
        else:
            yield Row(where, dict(zip(header, fields, strict=True)))


def _read_parquet(path: Path) -> Iterator[Row]:
    # Read directly rather than through `datasets`, which would first copy the file into its cache, and which
    # reports a damaged one without its name.
    number = 0
    with open_data(path) as handle:
        try:
            file = pq.ParquetFile(_seekable(handle, path))
            _refuse_duplicates(file.schema_arrow.names, str(path))
            for batch in file.iter_batches(_PARQUET_BATCH):
                for values in batch.to_pylist():
                    number += 1
                    yield Row(f"{path} row {number}", values)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataError(
                f"{path}: damaged or incomplete parquet after row {number} ({_shorten(str(error))})",
                hint="Copy or download the file again.",
            ) from error


def _seekable(handle: BinaryIO, path: Path) -> pa.BufferReader | BinaryIO:
    """Parquet is read from its end, so a compressed file has to be decompressed into memory."""
    return pa.BufferReader(handle.read()) if path.suffix.lower() in COMPRESSIONS else handle


def _text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Number (from 1) and text of every line, line ends kept."""
    with open_data(path) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                yield number, line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path}:{number}: not UTF-8, byte 0x{line[error.start]:02x} at column {error.start + 1}",
                    hint="Save the file as UTF-8.",
                ) from error


class _DuplicateKeyError(ValueError):
    """An object has a key twice; which value is meant is unknown."""


def _unique_keys(items: list[tuple[str, Any]]) -> JsonObject:
    values = dict(items)
    if len(values) != len(items):
        key = next(key for key, count in Counter(key for key, _ in items).items() if count > 1)
        raise _DuplicateKeyError(f"the key {key!r} appears twice in one object")
    return values


def _parse_json(text: str, path: Path, line: int | None) -> Any:
    """The value of `text`, which is line `line` of the file, or all of it.

    NaN and Infinity, which JSON lacks and Python writes, are read as numbers.
    """
    try:
        return json.loads(text, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        wrong_line = text.split("\n")[error.lineno - 1]
        raise DataError(
            f"{path}:{(line or 1) + error.lineno - 1}: corrupt JSON, {error.msg} at column {error.colno}: "
            f"{_excerpt(wrong_line, error.colno - 1)}",
            hint="Repair or remove this line.",
        ) from error
    except (ValueError, RecursionError) as error:  # a key twice, a number of 4,300 digits, endless nesting
        where = str(path) if line is None else f"{path}:{line}"
        raise DataError(f"{where}: unusable JSON, {error}", hint="Repair or remove this row.") from error


def _object(value: Any, where: str) -> JsonObject:
    if isinstance(value, dict):
        return value
    raise DataError(f"{where}: expected an object with a value per column, got {_kind(value)}")


def _kind(value: Any) -> str:
    """JSON's word for the type of `value`."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "a string"
        case list():
            return "a list"
        case _:
            return f"an object with the keys {', '.join(map(repr, list(value)[:8]))}"


def _refuse_duplicates(names: Iterable[str], where: str) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DataError(f"{where}: the column {twice[0]!r} appears twice")


def _excerpt(line: str, at: int) -> str:
    """The part of `line` around column `at`, control characters escaped."""
    start = max(0, at - _EXCERPT // 2)
    part = line[start : start + _EXCERPT]
    return f"{'…' if start else ''}{part!r}{'…' if start + _EXCERPT < len(line) else ''}"


def _shorten(text: str) -> str:
    """One line of a library's message."""
    line = text.strip().partition("\n")[0]
    return line if len(line) <= 2 * _EXCERPT else line[: 2 * _EXCERPT] + "…"
