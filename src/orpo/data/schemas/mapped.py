"""The `columns` of a source: a map from what examples are made of to the columns that hold it.

It has one of four forms, each with `prompt` or `messages`, and `system` where there is one:

* `{chosen, rejected}`: a column for each response;
* `{response}`: a column with the only response, to be imitated; or, with `label`, a good or a bad one;
* `{responses: [a, b], preferred, values: {label: 0 | 1 | tie}}`: two responses, and a column (or several
  votes) whose labels say which one is better;
* `{candidates, text, score | rank}`: a column with a list of objects, and the keys of text and score in them.

In the first two forms, a `prompt` of text is continued by responses of text; else, and always with
`messages`, it makes a chat: a list of messages, or the text of the user's turn.

`weight`, a column of numbers above 0, goes with each form, and `margin`, one of how much better the chosen
response is, with each that makes pairs of a row; or they stand alone, where the columns' names tell the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from orpo.data.columns import column_names, label_of
from orpo.data.rows import Row
from orpo.data.schemas.base import TIE, Layout, Schema, only
from orpo.data.schemas.compared import FIRST, SECOND, TIED, Compared, Labels
from orpo.data.schemas.context import Context
from orpo.data.schemas.numbered import NUMBERS
from orpo.data.schemas.paired import Paired
from orpo.data.schemas.scored import Listed
from orpo.data.schemas.single import Answered
from orpo.data.schemas.unpaired import Unpaired
from orpo.errors import ConfigError
from orpo.text import printable

_CONTEXT = ("prompt", "messages", "system")
_FORMS = {
    "chosen": ("chosen", "rejected"),
    "response": ("response", "label"),
    "responses": ("responses", "preferred", "values"),
    "candidates": ("candidates", "text", "score", "rank"),
}
_OPTIONAL = ("label",)
_COLUMN_KEYS = (
    *(*_CONTEXT, "chosen", "rejected", "response", "label", "responses", "preferred", "candidates"),
    *(number.key for number in NUMBERS),
)
_VERDICTS: dict[Any, float] = {0: FIRST, 1: SECOND, TIE: TIED}

_HINT = (
    "The forms are {prompt, chosen, rejected}, {prompt, response} with or without label, {prompt, responses: "
    "[a, b], preferred, values: {label: 0, label: 1, label: tie}} and {prompt, candidates, text, score or "
    "rank}; `messages` in place of `prompt` makes a chat, and `system` and `weight` may be added, and "
    "`margin` to pairs."
)


def mapped_schema(columns: Mapping[str, Any], rows: Sequence[Row], name: str) -> Schema | None:
    """The schema that `columns` describe; None if they say nothing but which columns hold numbers.

    Args:
        columns: see above; keys with None count as absent.
        rows: the first rows of the source.
        name: its name, for messages.

    Raises:
        ConfigError: with everything that is wrong.
    """
    given = {key: value for key, value in columns.items() if value is not None}
    has_no_form = says_only_numbers(columns)
    problems = [*(() if has_no_form else _form_problems(given)), *_value_problems(given)]
    problems = problems or [*_column_problems(given, rows)]
    if problems:
        raise ConfigError("\n".join([f"{name}: `columns` is wrong:", *_indented(problems)]), hint=_HINT)
    if has_no_form:
        return None
    return Schema("columns", "as the source's `columns` say", lambda values: True, only(_layout(given)))


def says_only_numbers(columns: Mapping[str, Any]) -> bool:
    """Whether `columns` name a weight or a margin, and leave the rest to the names of the columns."""
    given = {key for key, value in columns.items() if value is not None}
    return bool(given) and given <= {number.key for number in NUMBERS}


def _layout(given: Mapping[str, Any]) -> Layout:
    system = given.get("system")
    chat = Context(given.get("messages", given.get("prompt")), system=system)
    is_plain = "prompt" in given and system is None
    continued = Context(given["prompt"], plain=True) if is_plain else chat
    if "chosen" in given:
        return Paired(continued, given["chosen"], given["rejected"])
    if "label" in given:
        return Unpaired(continued, given["response"], given["label"])
    if "response" in given:
        return Answered(continued, given["response"])
    if "responses" in given:
        first, second = given["responses"]
        return Compared(chat, (first, second), Labels(tuple(_names(given["preferred"])), _verdicts(given)))
    is_rank = "rank" in given
    score = given["rank"] if is_rank else given["score"]
    return Listed(chat, given["candidates"], given["text"], score, lower_is_better=is_rank)


def _verdicts(given: Mapping[str, Any]) -> dict[str, float]:
    return {str(label_of(label)): _VERDICTS[meaning] for label, meaning in given["values"].items()}


def _form_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """What is missing from the form, and what is not part of it."""
    starts = [start for start in _FORMS if given.keys() & set(_FORMS[start])]
    if len(starts) != 1:
        found = ", ".join(f"`{key}`" for key in given) or "nothing"
        yield f"expected the keys of one form, got {found}"
        return
    form = _FORMS[starts[0]]
    required = (*form[:2], "score or rank") if starts[0] == "candidates" else form
    for key in required:
        if key not in _OPTIONAL and not given.keys() & set(key.split(" or ")):
            yield f"`{key}` is missing beside `{next(key for key in form if key in given)}`"
    for one, other in (("prompt", "messages"), ("score", "rank")):
        if one in given and other in given:
            yield f"`{one}` and `{other}` exclude each other"
    numbers = [number.key for number in NUMBERS if not (number.of_pairs and starts[0] == "response")]
    for key in given:
        if key not in (*_CONTEXT, *form, *numbers):
            yield f"`{key}` is not one of the keys"


def _value_problems(given: Mapping[str, Any]) -> Iterator[str]:
    """Values that are not of the kind that their key needs."""
    for key, value in given.items():
        match key:
            case "values":
                if not isinstance(value, Mapping) or not value:
                    yield "`values`: expected a mapping from labels to 0, 1 or tie"
                else:
                    yield from _label_problems(value)
            case "responses":
                if not (isinstance(value, list | tuple) and len(value) == 2 and all(map(_is_name, value))):
                    yield f"`responses`: expected a list of two columns, got {_shown(value)}"
            case "preferred":
                if not _names(value) or not all(map(_is_name, _names(value))):
                    yield f"`preferred`: expected a column or a list of columns, got {_shown(value)}"
            case _:
                if not _is_name(value):
                    yield f"`{key}`: expected a name, got {_shown(value)}"


def _label_problems(values: Mapping[Any, Any]) -> Iterator[str]:
    for label, meaning in values.items():
        if label_of(label) is None:
            yield f"`values`: {_shown(label)} is no label"
        if isinstance(meaning, bool) or not isinstance(meaning, int | str) or meaning not in _VERDICTS:
            yield f"`values`: {_shown(label)}: expected 0, 1 or tie, got {_shown(meaning)}"


def _column_problems(given: Mapping[str, Any], rows: Sequence[Row]) -> Iterator[str]:
    """Columns, and keys of candidates, that the rows do not have."""
    there = column_names(rows)
    for key in _COLUMN_KEYS:
        for column in _names(given.get(key, ())):
            if column not in there:
                yield f"`{key}`: there is no column {_shown(column)}{_nearest(column, there)}"
    if given.get("candidates") in there:
        inner = _candidate_keys(rows, given["candidates"])
        for key in ("text", "score", "rank"):
            if key in given and given[key] not in inner:
                missing = f"no {_shown(given[key])} in the objects of {_shown(given['candidates'])}"
                yield f"`{key}`: there is {missing}{_nearest(given[key], inner)}"


def _candidate_keys(rows: Sequence[Row], column: str) -> tuple[str, ...]:
    items = (item for row in rows if isinstance(row.values.get(column), list) for item in row.values[column])
    return tuple(dict.fromkeys(str(key) for item in items if isinstance(item, Mapping) for key in item))


def _nearest(name: str, there: Sequence[str]) -> str:
    """What is there instead of a missing name."""
    near = get_close_matches(name, there, n=1)
    meant = f"did you mean {_shown(near[0])}? " if near else ""
    return f"; {meant}there are: {', '.join(map(printable, there)) or 'none'}"


def _names(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list | tuple) else (value,)


def _is_name(value: Any) -> bool:
    return isinstance(value, str) and value != ""


def _shown(value: Any) -> str:
    return printable(repr(value), 80)


def _indented(lines: Sequence[str]) -> Iterator[str]:
    return (f"  {line}" for line in lines)
