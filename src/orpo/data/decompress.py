"""Data files as byte streams, decompressed on the way: memory never holds a whole file.

`zstandard`'s own stream reader takes a file that was cut short for one that ends there, and so loses rows
silently; the small reader here knows frames, and so notices.
"""

from __future__ import annotations

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import zstandard

from orpo.errors import DataError

COMPRESSIONS = (".gz", ".zst")
"""File endings that are decompressed."""

_CHUNK = 1 << 14
"""Compressed bytes taken at a time; memory holds what they decompress to."""


class _ZstdReader(io.RawIOBase):
    """Decompressed bytes of a `.zst` file: one frame, or several, one after the other."""

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._compressed = b""
        self._pending = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer) -> int:
        while not self._pending:
            if not self._decompress():
                return 0
        count = min(len(buffer), len(self._pending))
        buffer[:count] = self._pending[:count]
        self._pending = self._pending[count:]
        return count

    def _decompress(self) -> bool:
        """Decompress the next chunk into `_pending`; false at the end of the file."""
        chunk = self._compressed or self._raw.read(_CHUNK)
        self._compressed = b""
        if not chunk:
            if self._frame is not None:
                raise EOFError("the last frame is not complete")
            return False
        frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        self._pending = memoryview(frame.decompress(chunk))
        self._compressed = frame.unused_data
        self._frame = None if frame.eof else frame
        return True


@contextmanager
def open_data(path: Path) -> Iterator[BinaryIO]:
    """The bytes of `path`, decompressed if it ends in `.gz` or `.zst`.

    Raises:
        DataError: also from within the `with` block, when the file cannot be read, is damaged or cut short.
    """
    try:
        with path.open("rb") as raw:
            match path.suffix.lower():
                case ".gz":
                    with gzip.GzipFile(fileobj=raw) as handle:
                        yield io.BufferedReader(handle)
                case ".zst":
                    yield io.BufferedReader(_ZstdReader(raw))
                case _:
                    yield raw
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise DataError(
            f"{path}: the compressed data is damaged or cut short ({error})",
            hint="Copy or download the file again.",
        ) from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from error
