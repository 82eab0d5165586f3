"""Files of JSON as checked objects; whatever is wrong with one is one message with its place."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, NonNegativeInt, ValidationError

from orpo.errors import DataError
from orpo.rundir.directory import SCHEMA_VERSION

HINT = "It was damaged, changed by something else, or written by another version of orpo."

Count = NonNegativeInt


class Record(BaseModel):
    """What a file, or a part of it, holds; keys that are not named here are left alone."""

    model_config = ConfigDict(frozen=True, strict=True, extra="ignore")


R = TypeVar("R", bound=Record)


def read_document(path: Path, kind: type[R]) -> R | None:
    """A file of JSON, None if it is not there.

    Raises:
        DataError: it is not of this kind, or of another schema.
    """
    content = _content(path)
    if content is None:
        return None
    try:
        document = kind.model_validate_json(content)
    except ValidationError as error:
        raise _damaged(path, error) from None
    version = getattr(document, "schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION:
        raise DataError(
            f"{path}: schema_version is {version}, and this orpo reads {SCHEMA_VERSION}",
            hint="Use the version of orpo that wrote it, which is among the versions in its record.",
        )
    return document


def read_lines(path: Path, kind: type[R]) -> tuple[list[R], bool]:
    """The whole lines of a file of JSON lines, none if it is not there, and whether one is broken off.

    Raises:
        DataError: a line is not of this kind.
    """
    *lines, rest = (_content(path) or b"").split(b"\n")
    rows: list[R] = []
    for number, line in enumerate(lines, start=1):
        try:
            rows.append(kind.model_validate_json(line))
        except ValidationError as error:
            raise _damaged(path, error, number) from None
    return rows, bool(rest)


def _content(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(
            f"{path} cannot be read: {error.strerror or error}", hint="Check the permissions."
        ) from None


_PLACE = re.compile(r" at line (\d+) column \d+")


def _damaged(path: Path, error: ValidationError, line: int | None = None) -> DataError:
    """What is wrong with a file, in words, at its first fault."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    what = first["msg"][:1].lower() + first["msg"][1:]
    if first["type"] == "json_invalid":
        place = _PLACE.search(what)
        line = line or (int(place[1]) if place else None)
        what = _PLACE.sub("", what)
    elif key := ".".join(map(str, first["loc"])):
        what = f"{key}: {what}"
    return DataError(f"{path if line is None else f'{path}:{line}'}: {what}", hint=HINT)
