"""Opens whatever a user names as data: a local file or folder, a Hub id, or rows that are in memory."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from os import PathLike, fspath
from typing import TYPE_CHECKING, Any, TypeAlias, TypeGuard

from orpo.data.hub import dataset_rows, open_hub
from orpo.data.local import local_path, open_local
from orpo.data.rows import Row
from orpo.data.spec import IN_MEMORY, MemoryRows, MemorySource, OpenSource, Role, SourceSpec
from orpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from datasets import Dataset

Source: TypeAlias = "SourceSpec | str | PathLike[str] | MemorySource | MemoryRows"
"""A named source (a string or path is its path), or rows in memory, with or without options to read them."""

_HUB_ID = re.compile(r"[\w-][\w.-]*/[\w-][\w.-]*", re.ASCII)


def open_source(source: Source, role: Role = "train") -> OpenSource:
    """Find a source, choose its split, and get ready to stream its rows.

    A path that exists is local, whatever it looks like; else `owner/name` is a Hub id.

    Raises:
        ConfigError: nothing of that name, or a key that does not fit it.
        DataError: no data files, or a split must be named; while streaming, whatever is wrong with a row.
        NetworkError: see `open_hub`.
    """
    if isinstance(source, str | PathLike):
        source = SourceSpec(fspath(source))
    if isinstance(source, MemorySource):
        return _open_memory(source.rows, source.spec)
    if not isinstance(source, SourceSpec):
        return _open_memory(source, SourceSpec(IN_MEMORY))
    path = local_path(source.path)
    if path is not None:
        return open_local(path, source, role)
    if not _HUB_ID.fullmatch(source.path):
        raise ConfigError(
            f"{source.path!r} is neither an existing file or folder nor a Hub id (owner/name)",
            hint="Check the spelling; relative paths start from the current directory.",
        )
    return open_hub(source, role)


def _open_memory(rows: MemoryRows, spec: SourceSpec) -> OpenSource:
    if isinstance(rows, Mapping):
        raise ConfigError(
            f"expected an iterable of rows, got a mapping with the keys {', '.join(map(repr, rows))}",
            hint='Give a list of rows, or one split, such as `dataset["train"]`.',
        )
    spec = replace(spec, path=IN_MEMORY, config=None, data_dir=None, split=None, revision=None)
    if _is_dataset(rows):
        fingerprint = f"datasets:{rows._fingerprint}"
        return OpenSource(IN_MEMORY, dataset_rows(rows, ""), spec, fingerprint=fingerprint)
    return OpenSource(IN_MEMORY, _memory_rows(rows), spec)


def _is_dataset(source: object) -> TypeGuard[Dataset]:
    """Whether this is a `datasets.Dataset`, without importing `datasets` for those who have none."""
    module = sys.modules.get("datasets")
    return module is not None and isinstance(source, module.Dataset)


def _memory_rows(rows: Iterable[Any]) -> Iterator[Row]:
    for number, values in enumerate(rows, start=1):
        if not isinstance(values, Mapping):
            raise DataError(f"row {number}: expected a mapping, got {type(values).__name__}")
        yield Row(f"row {number}", {str(name): value for name, value in values.items()})
