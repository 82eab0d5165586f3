"""Local sources: a data file, or a folder of them whose names may show splits."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import replace
from difflib import get_close_matches
from itertools import chain
from pathlib import Path

from orpo.data.rows import KNOWN_ENDINGS, file_format, read_rows
from orpo.data.spec import OpenSource, Role, SourceSpec
from orpo.data.splits import choose_split, split_of_file
from orpo.errors import ConfigError, DataError

_METADATA = frozenset({"dataset_info.json", "dataset_infos.json", "dataset_dict.json", "state.json"})
"""JSON that `datasets` puts beside data files."""


def local_path(path: str) -> Path | None:
    """The local file or folder that `path` names, or None if it has the form of a Hub id instead.

    Raises:
        ConfigError: `path` has the form of a local path, and nothing is there.
    """
    local = Path(os.path.expanduser(path))  # unlike Path's own, it leaves ~nobody alone
    if path and os.path.exists(local):  # an empty path would be the current folder
        return local
    if _looks_local(path):
        raise ConfigError(f"no such file or folder: {path}", hint=_nearest(local))
    return None


def open_local(path: Path, spec: SourceSpec, role: Role) -> OpenSource:
    """A file, or the files of one split of a folder in the order of their names.

    Raises:
        ConfigError: `spec` asks for what only a Hub dataset has, or for a split that is not there.
        DataError: no data files, or a split must be named.
    """
    for key in ("config", "data_dir", "revision"):
        value = getattr(spec, key)
        if value is not None:
            raise ConfigError(
                f"{spec.path} is local, so it has no {key} ({value!r})", hint=f"Remove `{key}`."
            )
    if path.is_dir():
        return _open_folder(path, spec, role)
    if spec.split is not None:
        raise ConfigError(
            f"{spec.path} is one file, so it has no split {spec.split!r}", hint="Remove `split`."
        )
    if file_format(path) is None:
        raise DataError(f"{spec.path}: not a data file", hint=f"Known file endings: {KNOWN_ENDINGS}.")
    return OpenSource(spec.path, read_rows(path), spec, fingerprint=f"sha256:{_sha256(path)}")


def _open_folder(folder: Path, spec: SourceSpec, role: Role) -> OpenSource:
    files = _data_files(folder)
    by_split: dict[str | None, list[Path]] = {}
    for file in files:
        by_split.setdefault(split_of_file(file.relative_to(folder)), []).append(file)
    if set(by_split) == {None}:
        if spec.split is not None:
            raise ConfigError(
                f"{spec.path}: there is no split {spec.split!r}; the names of its files show none",
                hint="Remove `split` to read them all, or name one of the files.",
            )
        return _opened(folder, files, spec, None, ())
    # Beside files that show a split, one that does not is a split by its own name: never read unasked.
    for file in by_split.pop(None, []):
        by_split.setdefault(file.name.partition(".")[0], []).append(file)
    splits = tuple(sorted(name for name in by_split if name is not None))
    split = choose_split(splits, role, spec.split, spec.path)
    return _opened(folder, by_split[split], spec, split, splits)


def _opened(
    folder: Path, files: Sequence[Path], spec: SourceSpec, split: str | None, splits: tuple[str, ...]
) -> OpenSource:
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(folder).as_posix()}\0{_sha256(file)}\n".encode())
    return OpenSource(
        name=spec.path,
        rows=chain.from_iterable(map(read_rows, files)),
        split=split,
        splits=splits,
        fingerprint=f"sha256:{digest.hexdigest()}",
        spec=replace(spec, split=split),
    )


def _data_files(folder: Path) -> list[Path]:
    if (folder / "state.json").exists() or (folder / "dataset_dict.json").exists():
        raise DataError(
            f"{folder}: written by `save_to_disk` of datasets, which is not a folder of data files",
            hint="Convert the split that you need: "
            f'`datasets.load_from_disk("{folder}")["train"].to_parquet("train.parquet")`',
        )
    files = sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and file_format(path) is not None
        and path.name not in _METADATA
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
    )
    if not files:
        raise DataError(f"{folder}: the folder holds no data files", hint=f"Known endings: {KNOWN_ENDINGS}.")
    return files


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as handle:
            return hashlib.file_digest(handle, "sha256").hexdigest()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error


def _looks_local(path: str) -> bool:
    return path.startswith((".", "/", "~")) or "\\" in path or file_format(Path(path)) is not None


def _nearest(missing: Path) -> str:
    """The first part of the path that is missing, and what is there instead."""
    while not os.path.exists(missing.parent) and missing.parent != missing:
        missing = missing.parent
    try:
        siblings = [entry.name for entry in missing.parent.iterdir()]
    except OSError:  # not a folder, or not readable
        siblings = []
    nearest = get_close_matches(missing.name, siblings, n=3, cutoff=0.5)
    if nearest:
        return f"In {missing.parent} the nearest names are: {', '.join(nearest)}."
    return f"There is no {missing.name!r} in {missing.parent.absolute()}."
