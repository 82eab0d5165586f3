"""A log of JSON rows that loses none while the disk is full."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orpo.files import is_want_of_space, sync

logger = logging.getLogger(__name__)


class Log:
    """Rows of a JSONL file, each written whole.

    Rows that there is no space for wait in memory, and follow when there is.

    Args:
        path: of the file; it is made with the first row.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._waiting: list[str] = []

    def append(self, row: Mapping[str, Any]) -> None:
        """Add a row; the first one that has to wait is warned of.

        Raises:
            OSError: the system refused, for another reason than want of space.
        """
        self._waiting.append(json.dumps(row, allow_nan=False) + "\n")
        try:
            self.flush()
        except OSError as error:
            if not is_want_of_space(error):
                raise
            if len(self._waiting) == 1:
                logger.warning(
                    "%s cannot be written: %s; the run goes on, and its rows wait for space",
                    self._path,
                    error.strerror,
                )

    def flush(self) -> None:
        """Write the rows that wait.

        Raises:
            OSError: the system refused; the file is as it was.
        """
        if not self._waiting:
            return
        size = self._size()
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write("".join(self._waiting))
        except OSError:
            if self._path.exists():
                os.truncate(self._path, size)  # a full disk may have taken half of a row
            raise
        self._waiting.clear()

    def finish(self) -> None:
        """Write the rows that wait, or say that they are lost.

        Raises:
            OSError: the system refused, for another reason than want of space.
        """
        try:
            self.flush()
        except OSError as error:
            if not is_want_of_space(error):
                raise
            lost = len(self._waiting)
            logger.warning("%s lacks its last %d rows: %s", self._path, lost, error.strerror)

    def settle(self) -> int:
        """Bytes so far, all of which outlast a power cut from then on.

        Raises:
            OSError: see `flush`.
        """
        self.flush()
        if self._path.exists():
            sync(self._path)
        return self._size()

    def cut(self, size: int) -> None:
        """Take back what was added since the file had this size, in bytes.

        Raises:
            OSError: the system refused.
        """
        held = self._size()
        if held < size:
            logger.warning("%s: %d of the %d bytes logged so far are gone", self._path, size - held, size)
        elif held:
            os.truncate(self._path, size)

    def _size(self) -> int:
        return self._path.stat().st_size if self._path.exists() else 0
