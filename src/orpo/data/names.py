"""What the names of columns tell of what they hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from orpo.data.columns import is_blank

PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input", "context", "history", "conversation")
CHOSEN_NAMES = ("chosen", "preferred", "accepted", "better", "positive")
REJECTED_NAMES = ("rejected", "dispreferred", "worse", "negative")
LABEL_NAMES = ("preference", "label", "labels", "winner", "better_response_id", "overall_preference")
TEXT_NAMES = ("text", "response", "answer", "output", "completion", "content")
SCORE_NAMES = ("score", "overall_score", "rating", "reward")
RANK_NAMES = ("rank", "ranking")

RESPONSE_NAMES = ("completion", "response", "answer", "output")
"""Columns of the only response to a prompt."""

_FIRST_RESPONSE = re.compile(
    r"(output|response|answer|completion|text|human_ref)[_ ]?(?P<suffix>[01aA])", re.IGNORECASE
)
_SECOND = {"0": "1", "1": "2", "a": "b", "A": "B"}

_RESPONSE_WORDS = frozenset(
    word
    for noun in (*RESPONSE_NAMES, "generation", "candidate", "continuation", "alternative", "reply")
    for word in (noun, f"{noun}s")
) | {"replies"}
_ATTRIBUTES = frozenset(
    "category date domain format hash id ids index key language length level model name source style time "
    "tokens topic type url uuid".split()
)
"""Last words of the names of columns that say something about a response, and are none."""

_JUDGEMENT_WORDS = frozenset(
    {
        *(*CHOSEN_NAMES, *REJECTED_NAMES, "preference", "label", "winner", "score", "rating", "reward"),
        *("rank", "ranking", "vote", "verdict", "judgement", "judgment", "grade", "quality", "feedback"),
        *("good", "bad", "desirable", "thumbs", "kto"),
        *("helpfulness", "correctness", "coherence", "complexity", "verbosity"),
    }
)
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")


def first_of(names: Sequence[str], there: Collection[str]) -> str | None:
    """The first of the names that is there."""
    return next((name for name in names if name in there), None)


def two_responses(there: Sequence[str]) -> tuple[str, str] | None:
    """Two columns such as `output_1` and `output_2`."""
    for name in there:
        match = _FIRST_RESPONSE.fullmatch(name)
        if match and (second := name[:-1] + _SECOND[match["suffix"]]) in there:
            return name, second
    return None


def rivals(values: Mapping[str, Any], read: Collection[str]) -> Iterator[str]:
    """Columns that may hold a second response, or a judgement, beside those that are read.

    Too many are taken for such rather than too few: to say what they are takes a line, and a bad response that
    is imitated may never be noticed.
    """
    for name, value in values.items():
        if name not in read and (_judges(name) or (_responds(name) and _may_be_response(value))):
            yield name


def _judges(name: str) -> bool:
    words = _words(name)
    return not _JUDGEMENT_WORDS.isdisjoint([*words, *(word.removesuffix("s") for word in words)])


def _responds(name: str) -> bool:
    words = _words(name)
    return not _RESPONSE_WORDS.isdisjoint(words) and words[-1] not in _ATTRIBUTES


def _may_be_response(value: Any) -> bool:
    return not is_blank(value) and isinstance(value, str | list | tuple | Mapping)


def _words(name: str) -> list[str]:
    """The words of `snake_case`, `camelCase` and the like, in lower case and without numbers."""
    return [word.lower() for word in _WORD.findall(name)]
