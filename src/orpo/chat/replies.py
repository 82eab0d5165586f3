"""Answers that were paid for, kept on disk: a file that only grows, found by what was asked."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from orpo.errors import DataError
from orpo.rundir import writing

log = logging.getLogger(__name__)


class Reply(BaseModel):
    """What a model answered."""

    model_config = ConfigDict(frozen=True, strict=True)

    text: str
    refusal: str | None = None
    """What the service says in place of an answer."""

    finish: str | None = None
    """Why it ended: `stop`, `length`, `content_filter` …"""

    prompt_tokens: NonNegativeInt | None = None
    """As the service counts them; None if it does not say."""

    completion_tokens: NonNegativeInt | None = None


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True)

    key: str
    model: str
    reply: Reply


def key_of(url: str, model: str, parameters: Mapping[str, Any], prompt: str) -> str:
    """What an answer is found by: all that it depends on, which is the order of the responses, too."""
    asked = json.dumps([url, model, parameters, prompt], sort_keys=True)
    return hashlib.sha256(asked.encode()).hexdigest()


class ReplyStore:
    """The answers in one file of JSON lines; several threads may add to it.

    A line is on the disk before `add` returns.  One that is damaged, such as the last one of a process that
    was killed, is told of and left where it is, and its question is asked again.

    Raises:
        DataError: the file cannot be read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._replies: dict[str, Reply] = {}
        self._read()

    def get(self, key: str) -> Reply | None:
        """The answer, or None if it is not there."""
        return self._replies.get(key)

    def add(self, key: str, model: str, reply: Reply) -> None:
        """Keep an answer.

        Raises:
            ResourceError: it cannot be written.
        """
        line = (_Line(key=key, model=model, reply=reply).model_dump_json(exclude_none=True) + "\n").encode()
        with self._lock, writing(self.path, left="the answers before this one are kept"):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("ab+") as file:
                file.write(b"\n" * _breaks_off(file) + line)
                file.flush()
                os.fsync(file.fileno())
            self._replies[key] = reply

    def _read(self) -> None:
        damaged = 0
        try:
            content = self.path.read_bytes()
        except FileNotFoundError:
            return
        except OSError as error:
            raise DataError(f"{self.path}: cannot be read ({error.strerror or error})") from None
        for raw in content.splitlines():
            try:
                line = _Line.model_validate_json(raw)
            except ValidationError:
                damaged += bool(raw.strip())
                continue
            self._replies[line.key] = line.reply
        if damaged:
            log.warning("%s: %d damaged lines; what was asked there will be asked again", self.path, damaged)


def _breaks_off(file: BinaryIO) -> bool:
    """Whether the last line lacks its end."""
    if file.seek(0, os.SEEK_END) == 0:
        return False
    file.seek(-1, os.SEEK_END)
    return file.read(1) != b"\n"
