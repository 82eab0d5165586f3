"""A `columns` map for rows whose columns are not understood, as far as their names tell how to read them.

What they do not tell is `FILL_IN`, which names no column, so that the map is refused before it is filled in.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orpo.data.columns import column_names, label_of
from orpo.data.names import (
    CHOSEN_NAMES,
    LABEL_NAMES,
    PROMPT_NAMES,
    RANK_NAMES,
    REJECTED_NAMES,
    RESPONSE_NAMES,
    SCORE_NAMES,
    TEXT_NAMES,
    first_of,
    rivals,
    two_responses,
)
from orpo.data.rows import Row
from orpo.data.spec import IN_MEMORY, Role, SourceSpec

_MOST_LABELS = 8
"""Labels that are worth listing one by one."""

_FILL_IN = "FILL_IN"
_PLAIN_YAML = re.compile(r"(\./|/)?[A-Za-z_][\w./-]*( [\w./-]+)*", re.ASCII)
_YAML_WORDS = frozenset({"true", "false", "null", "yes", "no", "on", "off"})

_NAMES_FIT = (
    "The names fit, the values do not: make them text or lists of {role, content} messages. "
    "Text that is no transcript needs a `prompt` column."
)


def mapping_hint(rows: Sequence[Row], spec: SourceSpec, role: Role = "train") -> str:
    """What to do about columns that are not understood.

    Args:
        rows: the first rows of the source.
        spec: the source.
        role: what the rows are for.
    """
    there = column_names(rows)
    if {"chosen", "rejected"} <= set(there):
        return _NAMES_FIT
    named = ((key, getattr(spec, key)) for key in ("path", "config", "data_dir", "split", "revision"))
    place = ", for the source that the rows replace" if spec.path == IN_MEMORY else ""
    return "\n".join(
        [
            f"Say which columns hold what, in the config{place}; for example:",
            "",
            "data:",
            f"  {role}:",
            *(f"    {key}: {_yaml(value)}" for key, value in named if value is not None),
            "    columns:",
            *(f"      {line}" for line in _map(rows, there)),
            "",
            "Rows that no such map fits have to be rewritten; `orpo.data.open_source` reads them one by one.",
        ]
    )


def _map(rows: Sequence[Row], there: Sequence[str]) -> Iterator[str]:
    yield f"messages: {_column(PROMPT_NAMES, there)}  # or `prompt`, for text that the responses continue"
    responses = two_responses(there)
    candidates = _candidates(rows, there)
    response = first_of(RESPONSE_NAMES, there)
    if responses is not None:
        yield from _comparison(rows, there, responses)
    elif candidates is not None:
        yield from _ranking(*candidates)
    elif response is not None and first_of((*CHOSEN_NAMES, *REJECTED_NAMES), there) is None:
        yield from _single(rows, there, response)
    else:
        yield f"chosen: {_column(CHOSEN_NAMES, there)}"
        yield f"rejected: {_column(REJECTED_NAMES, there)}"


def _single(rows: Sequence[Row], there: Sequence[str], response: str) -> Iterator[str]:
    """A response in each row, and what may say whether it is a good one."""
    label = first_of(LABEL_NAMES, there)
    others = dict.fromkeys(name for row in rows for name in rivals(row.values, {response, label or ""}))
    doubt = f": {', '.join(map(json.dumps, others))} may be another, or a judgement" if others else ""
    yield f"response: {_yaml(response)}  # if it is the only one{doubt}"
    if label is not None:
        yield f"label: {_yaml(label)}  # true or 1 for good responses, false or 0 for bad ones"


def _comparison(rows: Sequence[Row], there: Sequence[str], responses: tuple[str, str]) -> Iterator[str]:
    """Two columns such as `output_1` and `output_2`, and what the labels mean."""
    first, second = responses
    label = first_of(LABEL_NAMES, there)
    yield f"responses: [{_yaml(first)}, {_yaml(second)}]"
    yield f"preferred: {_FILL_IN if label is None else _yaml(label)}"
    yield f"values:  # 0 where {_yaml(first)} is better, 1 where {_yaml(second)} is, or tie"
    for value, meaning in _meanings(rows, label, responses):
        yield f"  {value}: {meaning}"


def _meanings(
    rows: Sequence[Row], label: str | None, responses: tuple[str, str]
) -> Iterable[tuple[str, int | str]]:
    """The labels that are there; those that end a column's name are taken to mean it."""
    values = (row.values.get(label or "") for row in rows)
    found = {_spelt(value) for value in values if label_of(value) is not None}
    named = {json.dumps(name[-1]): position for position, name in enumerate(responses)}
    if not found or len(found) > _MOST_LABELS:
        return [(_FILL_IN, 0), (_FILL_IN + "_2", 1)]
    return [(value, named[value] if found <= named.keys() else _FILL_IN) for value in sorted(found)]


def _spelt(value: Any) -> str:
    return json.dumps(str(value).lower() if isinstance(value, bool) else str(value)[:40])


def _ranking(column: str, keys: Sequence[str]) -> Iterator[str]:
    """A column with a list of objects, and the keys in them."""
    yield f"candidates: {_yaml(column)}"
    yield f"text: {_column(TEXT_NAMES, keys)}"
    rank = first_of(RANK_NAMES, keys)
    if rank is not None:
        yield f"rank: {_yaml(rank)}"
    else:
        yield f"score: {_column(SCORE_NAMES, keys)}"


def _candidates(rows: Sequence[Row], there: Sequence[str]) -> tuple[str, list[str]] | None:
    """The first column with a list of objects that have a text and a score by their names."""
    for column in there:
        for row in rows:
            keys = _object_keys(row.values.get(column))
            if first_of(TEXT_NAMES, keys) and first_of((*SCORE_NAMES, *RANK_NAMES), keys):
                return column, keys
    return None


def _object_keys(value: Any) -> list[str]:
    if isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
        return [str(key) for key in value[0]]
    return []


def _column(names: Sequence[str], there: Sequence[str]) -> str:
    name = first_of(names, there)
    return _FILL_IN if name is None else _yaml(name)


def _yaml(text: str) -> str:
    """A YAML scalar that is this text."""
    is_plain = _PLAIN_YAML.fullmatch(text) and text.lower() not in _YAML_WORDS
    return text if is_plain else json.dumps(text)
