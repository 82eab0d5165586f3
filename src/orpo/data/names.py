"""What the names of columns tell of what they hold."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Literal

from orpo.data.columns import is_blank

PROMPT_NAMES = ("prompt", "instruction", "question", "query", "input", "context", "history", "conversation")
CHOSEN_NAMES = ("chosen", "preferred", "accepted", "better", "positive")
REJECTED_NAMES = ("rejected", "dispreferred", "worse", "negative")
LABEL_NAMES = (
    "preference",
    "label",
    "labels",
    "winner",
    "better_response_id",
    "overall_preference",
    "kto_tag",
)
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
    for noun in (
        *(*RESPONSE_NAMES, "generation", "candidate", "continuation", "alternative", "reply", "reference"),
        *("target", "truth", "gold", "expected"),
    )
    for word in (noun, f"{noun}s")
) | {"replies"}
_ATTRIBUTES = frozenset(
    {
        *("category", "date", "domain", "format", "hash", "id", "ids", "index", "key", "language", "length"),
        *("level", "model", "name", "source", "style", "time", "tokens", "topic", "type", "url", "uuid"),
    }
)
"""Last words of the names of columns that say something about a response, and are none."""

_JUDGEMENT_WORDS = frozenset(
    {
        *(*CHOSEN_NAMES, *REJECTED_NAMES, "preference", "label", "winner", "score", "rating", "reward"),
        *("rank", "ranking", "vote", "verdict", "judgement", "judgment", "grade", "quality", "feedback"),
        *("good", "bad", "desirable", "thumb", "kto", "star", "like", "liked", "dislike"),
        *("upvote", "downvote"),
        *("helpfulness", "correctness", "coherence", "complexity", "verbosity", "toxicity", "severity"),
        *("safe", "unsafe", "harm", "harmful", "harmless", "toxic", "helpful", "honest", "truthful"),
        *("correct", "incorrect", "wrong", "valid", "passed", "approved", "flagged", "hallucination"),
    }
)
"""In the singular."""

_VERDICTS = frozenset({*CHOSEN_NAMES, *REJECTED_NAMES, "good", "bad", "safe", "unsafe", "win", "loss"})
"""Texts that are a judgement, whatever the column is called."""

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

    Too many are taken for such rather than too few: to say what they are takes a line, and bad responses that
    are imitated may never be noticed.
    """
    for name, value in values.items():
        if name not in read:
            kind = _kind(name)
            is_judgement = kind == "judgement" or (isinstance(value, str) and value.lower() in _VERDICTS)
            if is_judgement or (kind == "response" and _may_be_response(value)):
                yield name


@lru_cache(maxsize=4096)
def _kind(name: str) -> Literal["judgement", "response"] | None:
    """What a column may hold by the words of its name: `snake_case`, `camelCase` and the like."""
    words = [word.lower() for word in _WORD.findall(name)]
    if not _JUDGEMENT_WORDS.isdisjoint([*words, *(word.removesuffix("s") for word in words)]):
        return "judgement"
    if not _RESPONSE_WORDS.isdisjoint(words) and words[-1] not in _ATTRIBUTES:
        return "response"
    return None


def _may_be_response(value: Any) -> bool:
    return not is_blank(value) and isinstance(value, str | list | tuple | Mapping)
