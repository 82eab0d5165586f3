"""JSON files that notice when a single byte of them is not what was written."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orpo.errors import ResourceError


class DamagedError(Exception):
    """A file is not what was written, or is not there; says which one and how that shows."""


@contextmanager
def storing(folder: Path) -> Generator[None]:
    """Say where nothing could be stored and why, such as a full disk.

    Raises:
        ResourceError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"data.cache: {folder} cannot be written: {error.strerror or error}",
            hint="Make room, or name a folder that you may write to in data.cache or ORPO_CACHE. What is "
            "finished is kept and need not be done again.",
        ) from None


def replace_file(path: Path, content: bytes | memoryview) -> None:
    """Write a file whole or not at all."""
    staged = path.with_name(f"{path.name}.tmp")
    staged.write_bytes(content)
    os.replace(staged, path)


def write_sealed(path: Path, content: Mapping[str, Any]) -> None:
    """Store `content` with its hash."""
    text = json.dumps({"sha256": _hash(content), "content": content}, indent=1)
    replace_file(path, text.encode())


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
    if not isinstance(content, dict) or _hash(content) != seal:
        raise DamagedError(f"{path.name} is not what was written")
    return content


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()
