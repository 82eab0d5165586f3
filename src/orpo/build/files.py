"""Files that appear all together or not at all."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from orpo.build.options import Format
from orpo.build.provenance import Item
from orpo.build.rows import Numbers, arrow_schema, row_of
from orpo.errors import ConfigError
from orpo.rundir import require_free, writing

_OPTION = "--output DIR"
LEFT = "nothing is left of what was written"
"""What messages say of files that were not finished."""

"""What a message says of files that were not finished."""
_ROW_GROUP = 1024


@contextmanager
def staged(target: Path) -> Generator[Path]:
    """A folder beside `target` that takes its place when the block ends well, and goes away when it does not.

    Raises:
        ConfigError: `target` is a file, or holds anything, or is the current directory.
        ResourceError: there is no room, or no permission.
    """
    target = require_free(target, option=_OPTION).resolve()
    if target == Path.cwd():  # a shell that is in it would stay in the one that is replaced
        raise ConfigError(
            f"output: {target} is the current directory",
            hint=f"Choose a directory in it, or another one, with {_OPTION}.",
        )
    beside = next(parent for parent in target.parents if parent.is_dir())
    stage = beside / f".{target.name}.{token_hex(4)}.partial"
    with writing(target, left=LEFT):
        stage.mkdir()
    try:
        yield stage
        with writing(target, left=LEFT):
            target.parent.mkdir(parents=True, exist_ok=True)
            stage.replace(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)  # gone already if all went well


def write_items(path: Path, items: Sequence[Item], form: Format, numbers: Numbers) -> None:
    """Write the rows of some items.

    Args:
        path: the file.
        items: at least one; all pairs or all single responses.
        form: of the file.
        numbers: those that rows have.
    """
    if form is Format.JSONL:
        with path.open("w", encoding="utf-8") as file:
            for item in items:
                file.write(json.dumps(row_of(item, numbers), ensure_ascii=False) + "\n")
        return
    schema = arrow_schema(row_of(items[0], numbers))
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, len(items), _ROW_GROUP):
            rows = [row_of(item, numbers) for item in items[start : start + _ROW_GROUP]]
            writer.write_table(pa.Table.from_pylist(rows, schema))


def describe_file(path: Path, rows: int) -> dict[str, Any]:
    """What the manifest says of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return {"rows": rows, "bytes": path.stat().st_size, "sha256": digest}
