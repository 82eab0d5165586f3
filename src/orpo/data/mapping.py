"""A program for rows whose columns are not understood: it writes them as pairs, as far as names tell how.

What they do not tell is `FILL_IN`, an undefined name, so that the program cannot run before it is filled in.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from orpo.data.rows import Row
from orpo.data.spec import SourceSpec

_PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input", "context", "history")
_CHOSEN_NAMES = ("chosen", "preferred", "accepted", "better", "positive")
_REJECTED_NAMES = ("rejected", "dispreferred", "worse", "negative")
_LABEL_NAMES = ("preference", "label", "labels", "winner", "better_response_id", "overall_preference")
_FIRST_CANDIDATE = re.compile(
    r"(output|response|answer|completion|text|human_ref)[_ ]?(?P<suffix>[01aA])", re.IGNORECASE
)
_SECOND = {"0": "1", "1": "2", "a": "b", "A": "B"}

_INDENT = " " * 4


def mapping_hint(rows: Sequence[Row], spec: SourceSpec | None) -> str:
    """What to do about columns that are no pairs.

    Args:
        rows: the first rows of the source.
        spec: the source; None for rows in memory, which the program calls `rows`.
    """
    columns = list(dict.fromkeys(name for row in rows for name in row.values))
    pair = _from_sharegpt(rows, columns) or _from_candidates(rows, columns)
    if pair is None and {"chosen", "rejected"} <= set(columns):
        return (
            "The names fit, the values do not: make them one of these shapes. "
            "Strings that are no transcripts need a `prompt` column."
        )
    return "\n".join(
        [
            "Write the rows in one of these shapes, and use that file; for example:",
            "",
            "import json",
            *([] if spec is None else ["from orpo.data import SourceSpec, open_source"]),
            "def answer(text):",
            '    return [{"role": "assistant", "content": text}]',
            'with open("pairs.jsonl", "w", encoding="utf-8") as out:',
            *(_INDENT + line for line in _loop(spec)),
            *(2 * _INDENT + line for line in pair or _from_renaming(columns)),
            2 * _INDENT + 'out.write(json.dumps(pair) + "\\n")',
        ]
    )


def _loop(spec: SourceSpec | None) -> list[str]:
    if spec is None:
        return ["for row in rows:"]
    keywords = ("config", "split", "revision")
    given = [f"{key}={_quoted(value)}" for key in keywords if (value := getattr(spec, key)) is not None]
    source = ", ".join([_quoted(spec.path), *given])
    return [f"for row in open_source(SourceSpec({source})).rows:", _INDENT + "row = row.values"]


def _from_sharegpt(rows: Sequence[Row], columns: list[str]) -> list[str] | None:
    """Lines for `conversations` of {from, value}, with one such object as each response."""
    chosen = rows[0].values.get("chosen")
    if "conversations" not in columns or not isinstance(chosen, Mapping) or "value" not in chosen:
        return None
    return [
        'roles = {"human": "user", "gpt": "assistant"}',
        "prompt = [",
        '    {"role": roles.get(turn["from"], turn["from"]), "content": turn["value"]}',
        '    for turn in row["conversations"]',
        "]",
        *_pair("prompt", 'row["chosen"]["value"]', 'row["rejected"]["value"]'),
    ]


def _from_candidates(rows: Sequence[Row], columns: list[str]) -> list[str] | None:
    """Lines for two columns such as `output_1` and `output_2`, whose better one another column tells."""
    candidates = _candidates(columns)
    if candidates is None:
        return None
    first, second = map(_quoted, candidates)
    return [
        *_preference(rows, columns, candidates),
        f"better, worse = ({first}, {second}) if first_is_better else ({second}, {first})",
        *_pair(f"row[{_column(_PROMPT_NAMES, columns)}]", "row[better]", "row[worse]"),
    ]


def _from_renaming(columns: list[str]) -> list[str]:
    names = (_PROMPT_NAMES, _CHOSEN_NAMES, _REJECTED_NAMES)
    return _pair(*(f"row[{_column(known, columns)}]" for known in names))


def _pair(prompt: str, chosen: str, rejected: str) -> list[str]:
    return [f'pair = {{"prompt": {prompt}, "chosen": answer({chosen}), "rejected": answer({rejected})}}']


def _preference(rows: Sequence[Row], columns: list[str], candidates: tuple[str, str]) -> list[str]:
    """Lines that set `first_is_better`; labels that lie between the candidates' numbers are understood."""
    label = _first_of(_LABEL_NAMES, columns)
    low, high = (name[-1] for name in candidates)
    labels = [row.values.get(label) for row in rows] if label else []
    if not label or not low.isdigit() or not all(_within(value, int(low), int(high)) for value in labels):
        return [
            f"first_is_better = row[{_column(_LABEL_NAMES, columns)}] == FILL_IN"
            f"  # the value that prefers {candidates[0]}; leave out ties"
        ]
    middle = (int(low) + int(high)) / 2
    return [
        f"if row[{_quoted(label)}] == {middle}:",
        "    continue  # a tie",
        f"first_is_better = row[{_quoted(label)}] < {middle}"
        f"  # check: {low} prefers {candidates[0]}, {high} prefers {candidates[1]}",
    ]


def _candidates(columns: list[str]) -> tuple[str, str] | None:
    for name in columns:
        match = _FIRST_CANDIDATE.fullmatch(name)
        if match and (second := name[:-1] + _SECOND[match["suffix"]]) in columns:
            return name, second
    return None


def _within(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and low <= value <= high


def _first_of(names: Sequence[str], columns: list[str]) -> str | None:
    return next((name for name in names if name in columns), None)


def _column(names: Sequence[str], columns: list[str]) -> str:
    name = _first_of(names, columns)
    return "FILL_IN" if name is None else _quoted(name)


def _quoted(text: str) -> str:
    """A Python literal of the text."""
    return f'"{text}"' if text.isprintable() and not {'"', "\\"} & set(text) else repr(text)
