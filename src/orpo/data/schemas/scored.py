"""Several responses to one prompt with scores or ranks, in one row or in rows one after another."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, groupby
from typing import Any

from orpo.data.columns import number_of
from orpo.data.pairs import Example, Pair, Prompt, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas.base import (
    BELOW_MARGIN,
    TIE,
    Schema,
    Settings,
    Values,
    examples_by_row,
    has,
    only,
    present,
)
from orpo.data.schemas.context import Context
from orpo.data.shapes import Answer, Asked, answered_prompt, any_answer, pair_of

NO_CANDIDATES = "not a list of at least two responses"
ALONE = "no other response to the prompt in the rows beside it"

_OPTIONS = frozenset({"policy", "min_margin"})


@dataclass(frozen=True)
class Candidate:
    """A response and how good it is: the higher, the better."""

    answer: Answer
    score: float


def choose_pairs(candidates: Sequence[Candidate], settings: Settings) -> list[tuple[Candidate, Candidate]]:
    """The (better, worse) candidates that the policy makes pairs of.

    * `best-vs-worst`: one pair.
    * `best-vs-random`: one pair; the worse one is drawn from all those that are worse, by a seed that depends
      on the texts of the responses only.
    * `all-above-margin`: every two candidates that differ.

    Of equally good or bad ones the first counts.  `min_margin` is the least difference under every policy.

    Raises:
        UnusableRowError: all are equal, or none differ by `min_margin`.
    """
    best = max(candidates, key=lambda candidate: candidate.score)
    worst = min(candidates, key=lambda candidate: candidate.score)
    if best.score == worst.score:
        raise UnusableRowError(TIE)
    match settings.policy:
        case "best-vs-worst":
            chosen = [(best, worst)]
        case "best-vs-random":
            chosen = [(best, other) for other in candidates if _differ(best, other, settings)]
            chosen = [_generator(candidates).choice(chosen)] if chosen else []
        case "all-above-margin":
            chosen = [
                (first, second) if first.score > second.score else (second, first)
                for first, second in combinations(candidates, 2)
            ]
    chosen = [(better, worse) for better, worse in chosen if _differ(better, worse, settings)]
    if not chosen:
        raise UnusableRowError(BELOW_MARGIN)
    return chosen


def _differ(better: Candidate, worse: Candidate, settings: Settings) -> bool:
    margin = better.score - worse.score
    return margin > 0 and margin >= settings.min_margin


def _generator(candidates: Sequence[Candidate]) -> random.Random:
    digest = hashlib.sha256()
    for candidate in candidates:
        digest.update(candidate.answer.text.encode(errors="surrogatepass") + b"\0")
    return random.Random(digest.digest())


@dataclass(frozen=True)
class Listed:
    """A column with a list of objects, a response and its score or rank in each."""

    context: Context
    candidates: str
    text: str
    score: str
    lower_is_better: bool = False
    """Whether `score` is a rank."""

    options: frozenset[str] = _OPTIONS
    joins_rows: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (*self.context.columns, self.candidates)

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`."""
        return examples_by_row(rows, counts, lambda row: self._read(row, settings))

    def _read(self, row: Row, settings: Settings) -> list[Pair]:
        items = present(row.values, self.candidates)
        if not isinstance(items, list | tuple) or len(items) < 2:
            raise UnusableRowError(NO_CANDIDATES)
        chosen = choose_pairs([self._candidate(item) for item in items], settings)
        asked = self.context.read(row.values)
        return [pair_of(asked, better.answer, worse.answer, row.where) for better, worse in chosen]

    def _candidate(self, item: Any) -> Candidate:
        if not isinstance(item, Mapping):
            raise UnusableRowError(NO_CANDIDATES)
        score = _number(item, self.score)
        answer = any_answer(present(item, self.text))
        return Candidate(answer, -score if self.lower_is_better else score)


@dataclass(frozen=True)
class Consecutive:
    """A row for each response, those to one prompt one after another."""

    context: Context
    response: str
    score: str
    options: frozenset[str] = _OPTIONS
    joins_rows: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (*self.context.columns, self.response, self.score)

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`; rows are kept or dropped together with the others of their prompt."""
        for _, group in groupby(self._responses(rows, counts), key=lambda response: response.prompt):
            responses = list(group)
            try:
                found = self._compare(responses, settings)
            except UnusableRowError as unusable:
                for response in responses:
                    counts.drop(unusable.reason, response.where)
            else:
                counts.kept += len(responses)
                yield from found

    def _responses(self, rows: Iterable[Row], counts: RowCounts) -> Iterator[_Response]:
        for row in rows:
            try:
                yield self._response(row)
            except UnusableRowError as unusable:
                counts.drop(unusable.reason, row.where)

    def _response(self, row: Row) -> _Response:
        asked = self.context.read(row.values)
        answer = any_answer(present(row.values, self.response))
        candidate = Candidate(answer, _number(row.values, self.score))
        return _Response(asked, answered_prompt(asked, answer), candidate, row.where)

    def _compare(self, responses: list[_Response], settings: Settings) -> list[Pair]:
        if len(responses) < 2:
            raise UnusableRowError(ALONE)
        chosen = choose_pairs([response.candidate for response in responses], settings)
        asked, where = responses[0].asked, responses[0].where
        return [pair_of(asked, better.answer, worse.answer, where) for better, worse in chosen]


@dataclass(frozen=True)
class _Response:
    asked: Asked
    prompt: Prompt
    candidate: Candidate
    where: str


def _number(values: Values, column: str) -> float:
    number = number_of(present(values, column))
    if number is None:
        raise UnusableRowError(f"`{column}` is not a number")
    return number


def _lists(column: str, *keys: str) -> Callable[[Values], bool]:
    """A test for rows with a list of objects that have these keys."""

    def fits(values: Values) -> bool:
        items = values.get(column)
        return (
            isinstance(items, list | tuple)
            and len(items) > 0
            and isinstance(items[0], Mapping)
            and all(key in items[0] for key in keys)
        )

    return fits


_HELPSTEER = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")

SCORED = (
    Schema(
        "Nectar",
        "answers with rank",
        lambda values: "prompt" in values and _lists("answers", "answer", "rank")(values),
        only(Listed(Context("prompt"), "answers", "answer", "rank", lower_is_better=True)),
    ),
    Schema(
        "UltraFeedback",
        "completions with overall_score",
        lambda values: "instruction" in values and _lists("completions", "response", "overall_score")(values),
        only(Listed(Context("instruction"), "completions", "response", "overall_score")),
    ),
    Schema(
        "HelpSteer2",
        "a rated response in each row",
        has("prompt", "response", *_HELPSTEER),
        {criterion: Consecutive(Context("prompt"), "response", criterion) for criterion in _HELPSTEER},
    ),
)
"""Schemas of several responses to a prompt, with scores or ranks."""
