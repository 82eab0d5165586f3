"""Rows of files as checked objects: read with the place of every mistake, written whole or not at all."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, ValidationError

from orpo.data.rows import read_rows
from orpo.errors import DataError
from orpo.files import replace_file
from orpo.rundir import writing
from orpo.text import printable

_MOST_PROBLEMS = 3
_EXCERPT = 60


class Record(BaseModel):
    """One row.  Fields that it does not know are kept, and written again after those that it knows."""

    what: ClassVar[str]
    """What the row is, with its article, for messages."""

    model_config: ClassVar[ConfigDict] = ConfigDict(
        extra="allow", strict=True, frozen=True, protected_namespaces=()
    )

    def fields(self) -> dict[str, Any]:
        """The row as plain data: what was given, and nothing that was not."""
        return self.model_dump(exclude_unset=True)


def _none_for_nan(value: object) -> object:
    return None if isinstance(value, float) and math.isnan(value) else value


OptionalNumber = Annotated[float | None, BeforeValidator(_none_for_nan)]
"""A number that may be missing: null, or the NaN that pandas writes."""

R = TypeVar("R", bound=Record)


def read_records(path: str | Path, kind: type[R]) -> list[R]:
    """All rows of a JSON list or of JSON lines.

    Raises:
        DataError: the file cannot be read, or a row is not of this `kind`; the message names line or row.
    """
    return [check_record(row.values, kind, row.where) for row in read_rows(Path(path))]


def read_record(path: str | Path, kind: type[R]) -> R:
    """The one object that a JSON file holds.

    Raises:
        DataError: the file cannot be read, or the object is not of this `kind`.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror or error})") from None
    return _checked(lambda: kind.model_validate_json(content), kind, str(path))


def check_record(values: Mapping[str, Any], kind: type[R], where: str) -> R:
    """`values` as an object of `kind`.

    Args:
        values: of the row.
        kind: what it should be.
        where: file and line, for the message.

    Raises:
        DataError: it is not of that kind.
    """
    return _checked(lambda: kind.model_validate(values), kind, where)


def _checked(validate: Callable[[], R], kind: type[R], where: str) -> R:
    try:
        return validate()
    except ValidationError as error:
        problems = [_explain(detail) for detail in error.errors(include_url=False)[:_MOST_PROBLEMS]]
        more = error.error_count() - len(problems)
        if more:
            problems.append(f"and {more} more")
        raise DataError(
            f"{where}: not {kind.what}: {'; '.join(problems)}",
            hint="docs/evaluation.md lists the fields of each format.",
        ) from None


def write_list(path: str | Path, records: Iterable[Record]) -> None:
    """Write a JSON list, one row after the other.

    Raises:
        ResourceError: it cannot be written.
    """
    write_json(path, [record.fields() for record in records])


def write_lines(path: str | Path, records: Iterable[Record]) -> None:
    """Write JSON lines.

    Raises:
        ResourceError: it cannot be written.
    """
    write_text(path, "".join(json.dumps(record.fields()) + "\n" for record in records))


def write_json(path: str | Path, value: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write one JSON value.

    Raises:
        ResourceError: it cannot be written.
    """
    write_text(path, json.dumps(value, indent=2) + "\n")


def write_text(path: str | Path, text: str) -> None:
    """Put `text` at `path`, in place of what was there, once all of it is on the disk.

    Raises:
        ResourceError: it cannot be written.
    """
    path = Path(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text.encode())


def _explain(detail: Mapping[str, Any]) -> str:
    """One of pydantic's complaints with the value that it is about."""
    place = f"`{printable('.'.join(map(str, detail['loc'])), _EXCERPT)}`" if detail["loc"] else "the row"
    match detail["type"]:
        case "missing":
            return f"{place} is missing"
        case "json_invalid":
            return detail["msg"]
        case "value_error":
            expected = str(detail["ctx"]["error"])
        case _:
            expected = detail["msg"].removeprefix("Input should be ")
    return f"{place}: expected {expected}, got {printable(repr(detail['input']), _EXCERPT)}"
