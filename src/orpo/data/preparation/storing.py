"""What is said when the cache of tokens cannot be written."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from orpo.errors import ResourceError


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
