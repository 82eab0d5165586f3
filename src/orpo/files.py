"""Files that are whole or not there, and that show when they are not what was written."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

_WANT_OF_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DamagedError(Exception):
    """A file is not what was written, or is not there; says which one and how that shows."""


def is_want_of_space(error: OSError) -> bool:
    """Whether the system refused because a disk, a quota or a limit is full."""
    return error.errno in _WANT_OF_SPACE


def unfinished(path: Path) -> Path:
    """Where `replace_file` writes what is to replace `path`, and leaves it if it is killed."""
    return path.with_name(f"{path.name}.tmp")


def replace_file(path: Path, content: bytes | memoryview, *, durable: bool = False) -> None:
    """Write a file whole or not at all.

    Args:
        path: where; what was there before is replaced.
        content: all of it.
        durable: return only when the content would outlast a power cut; its name does after `sync` of the
            folder.
    """
    staged = unfinished(path)
    staged.write_bytes(content)
    if durable:
        sync(staged)
    os.replace(staged, path)


def sync(path: Path) -> None:
    """Return when the content of a file, or the names in a folder, would outlast a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(path: Path) -> None:
    """Return when a folder and all that is in it would outlast a power cut."""
    for item in path.rglob("*"):
        sync(item)
    sync(path)


def sha256_of(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_sealed(path: Path, content: Mapping[str, Any], *, durable: bool = False) -> None:
    """Store `content` as JSON with its hash; see `replace_file`."""
    text = json.dumps({"sha256": _hash(content), "content": content}, indent=1)
    replace_file(path, text.encode(), durable=durable)


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` stored.

    Raises:
        DamagedError: it is not there, or not what was written.
    """
    try:
        sealed = json.loads(path.read_bytes())
        content, seal = sealed["content"], sealed["sha256"]
    except OSError as error:
        raise DamagedError(f"{path.name}: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError):
        raise DamagedError(f"{path.name} is not what was written") from None
    if not isinstance(content, dict) or _hash(cast(dict[str, Any], content)) != seal:
        raise DamagedError(f"{path.name} is not what was written")
    return cast(dict[str, Any], content)


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
