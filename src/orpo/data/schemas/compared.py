"""Rows that hold two responses and a label that says which one is better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from orpo.data.columns import is_missing, label_of, number_of
from orpo.data.pairs import Example, Pair, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas.base import (
    Adapted,
    Schema,
    Settings,
    Values,
    examples_by_row,
    has,
    only,
    present,
    require_margin,
)
from orpo.data.schemas.context import Context
from orpo.data.shapes import NOT_MESSAGES, Answer, any_answer, pair_of

NO_MAJORITY = "no majority among the votes"
NOT_A_VOTE = "no record of a vote on two conversations"

FIRST, TIED, SECOND = -1.0, 0.0, 1.0


class Judge(Protocol):
    """Reads which of two responses is better."""

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that are read."""
        ...

    @property
    def options(self) -> frozenset[str]:
        """The options of a source that its values have a meaning for."""
        ...

    def __call__(self, values: Values) -> float:
        """Below 0: the first one; above 0: the second one; 0: a tie.

        Raises:
            UnusableRowError: the label is missing or not understood.
        """
        ...


@dataclass(frozen=True)
class Labels:
    """Labels of one column or of several votes, of which more than half must agree."""

    columns: tuple[str, ...]
    """A column may hold one vote or a list of them."""

    values: Mapping[str, float]
    """FIRST, TIED or SECOND by label, spelt as by `label_of`."""

    options: frozenset[str] = frozenset()

    def __call__(self, values: Values) -> float:
        """See `Judge`."""
        votes = Counter(self._vote(vote) for vote in self._votes(values))
        winner, number = votes.most_common(1)[0]
        if 2 * number <= votes.total():
            raise UnusableRowError(NO_MAJORITY)
        return winner

    def _votes(self, values: Values) -> list[Any]:
        votes: list[Any] = []
        for column in self.columns:
            value = values.get(column)
            votes += value if isinstance(value, list | tuple) else [value]
        votes = [vote for vote in votes if not is_missing(vote)]
        if not votes:
            raise UnusableRowError(f"no value for {self._named}")
        return votes

    def _vote(self, vote: Any) -> float:
        verdict = self.values.get(label_of(vote) or "")
        if verdict is None:
            raise UnusableRowError(f"label not understood in {self._named}")
        return verdict

    @property
    def _named(self) -> str:
        return ", ".join(f"`{column}`" for column in self.columns)


def labels(column: str, *more: str, first: object, second: object, ties: Iterable[object] = ()) -> Labels:
    """The judge for a column, or several, with one label for each verdict."""
    meanings = [(first, FIRST), (second, SECOND), *((tie, TIED) for tie in ties)]
    return Labels((column, *more), {str(label_of(label)): verdict for label, verdict in meanings})


@dataclass(frozen=True)
class Scale:
    """A number between two ends, one for each response; it is a tie in the middle."""

    column: str
    first: float
    """Where the first response is best."""

    second: float
    """Where the second response is best; above `first`."""

    also_tied: tuple[float, ...] = ()
    """Numbers outside that stand for a tie too."""

    options: frozenset[str] = frozenset({"min_margin"})

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Judge`."""
        return (self.column,)

    def __call__(self, values: Values) -> float:
        """See `Judge`; the size is the distance from the middle."""
        value = number_of(present(values, self.column))
        if value in self.also_tied:
            return TIED
        if value is None or not self.first <= value <= self.second:
            raise UnusableRowError(f"label not understood in `{self.column}`")
        return value - (self.first + self.second) / 2


@dataclass(frozen=True)
class Compared:
    """Two columns with a response each, and a judge."""

    context: Context
    responses: tuple[str, str]
    judge: Judge
    answer: Callable[[Any], Answer] = any_answer
    """Reads a response; raises UnusableRowError."""

    joins_rows: bool = False

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (*self.context.columns, *self.responses, *self.judge.columns)

    @property
    def options(self) -> frozenset[str]:
        """See `Layout`."""
        return self.judge.options

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`."""
        return examples_by_row(rows, counts, lambda row: [self._read(row, settings)])

    def _read(self, row: Row, settings: Settings) -> Pair:
        margin = self.judge(row.values)
        require_margin(margin, settings)
        names = self.responses if margin < 0 else self.responses[::-1]
        better, worse = (self.answer(present(row.values, name)) for name in names)
        return pair_of(self.context.read(row.values), better, worse, row.where)


def _judged_turns(values: Values) -> dict[str, Any]:
    """Conversations up to the turn that was judged, which MT-Bench's go beyond."""
    turn = number_of(values.get("turn"))
    if turn is None or turn < 1:
        return dict(values)
    return {**values, **{name: _cut(values.get(name), int(turn)) for name in _CONVERSATIONS}}


def _cut(messages: Any, turns: int) -> Any:
    """The first turns, of a question and an answer each, of a list without a system turn."""
    return messages[: 2 * turns] if isinstance(messages, list | tuple) else messages


def _vote_record(values: Values) -> dict[str, Any]:
    """A line of FastChat's log of votes, as the two conversations."""
    match values.get("states"):
        case [{"messages": [*first]} as left, {"messages": [*second]} as right]:
            conversations = (_said(left, first), _said(right, second))
        case _:
            raise UnusableRowError(NOT_A_VOTE)
    return {**values, **dict(zip(_CONVERSATIONS, conversations, strict=True))}


def _said(state: Mapping[str, Any], turns: list[Any]) -> list[dict[str, Any]]:
    """The turns of a conversation, [speaker, text] each, user and model in alternation under names that
    differ from model to model; without the examples before them, which `offset` counts."""
    offset = state.get("offset")
    spoken = turns[offset:] if isinstance(offset, int) and offset > 0 else turns
    if not all(isinstance(turn, list | tuple) and len(turn) == 2 for turn in spoken):
        raise UnusableRowError(NOT_MESSAGES)
    return [
        {"role": ("user", "assistant")[index % 2], "content": text} for index, (_, text) in enumerate(spoken)
    ]


_CONVERSATIONS = ("conversation_a", "conversation_b")
_BATTLE = Compared(
    Context(),
    _CONVERSATIONS,
    labels("winner", first="model_a", second="model_b", ties=["tie", "both_bad", "tie (bothbad)"]),
)
_VOTE = Compared(
    Context(),
    _CONVERSATIONS,
    labels("type", first="leftvote", second="rightvote", ties=["tievote", "bothbad_vote"]),
)
_SAFE_RLHF = ("response_0", "response_1")

COMPARED = (
    Schema(
        "HelpSteer3",
        "A/B with overall_preference",
        has("context", "response1", "response2", "overall_preference"),
        only(Compared(Context("context"), ("response1", "response2"), Scale("overall_preference", -3, 3))),
    ),
    Schema(
        "HelpSteer2 preferences",
        "A/B with preference_strength",
        has("prompt", "response_1", "response_2", "preference_strength"),
        only(Compared(Context("prompt"), ("response_1", "response_2"), Scale("preference_strength", -3, 3))),
    ),
    Schema(
        "SHP",
        "A/B with labels, 1 for A",
        has("history", "human_ref_A", "human_ref_B", "labels"),
        only(
            Compared(Context("history"), ("human_ref_A", "human_ref_B"), labels("labels", first=1, second=0))
        ),
    ),
    Schema(
        "PKU-SafeRLHF",
        "A/B with two labels",
        has("prompt", *_SAFE_RLHF, "better_response_id", "safer_response_id"),
        {
            criterion: Compared(
                Context("prompt"), _SAFE_RLHF, labels(f"{criterion}_response_id", first=0, second=1)
            )
            for criterion in ("better", "safer")
        },
    ),
    Schema(
        "AlpacaEval annotations",
        "A/B with preference, 1 to 2",
        has("instruction", "output_1", "output_2", "preference"),
        only(
            Compared(
                Context("instruction", input="input"),
                ("output_1", "output_2"),
                Scale("preference", 1, 2, also_tied=(0,)),
            )
        ),
    ),
    Schema(
        "Auto-J",
        "A/B with label: 0 first, 1 second, 2 tie",
        has("prompt", "response 1", "response 2", "label"),
        only(
            Compared(
                Context("prompt"),
                ("response 1", "response 2"),
                labels("label", first=0, second=1, ties=[2]),
            )
        ),
    ),
    Schema(
        "PandaLM",
        "A/B with three votes: 0 tie, 1 first, 2 second",
        has("instruction", "response1", "response2", "annotator1", "annotator2", "annotator3"),
        only(
            Compared(
                Context("instruction", input="input"),
                ("response1", "response2"),
                labels("annotator1", "annotator2", "annotator3", first=1, second=2, ties=[0]),
            )
        ),
    ),
    Schema(
        "arena battles",
        "two conversations with winner",
        has(*_CONVERSATIONS, "winner"),
        only(Adapted((*_BATTLE.columns, "turn"), _judged_turns, _BATTLE)),
    ),
    Schema(
        "arena votes",
        "two states with the type of vote",
        has("states", "models", "type"),
        only(Adapted(("states", "type"), _vote_record, _VOTE)),
    ),
    Schema(
        "votes",
        "A/B with votes: a, b or tie",
        has("prompt", "response_a", "response_b", "votes"),
        only(
            Compared(
                Context("prompt", system="system"),
                ("response_a", "response_b"),
                labels("votes", first="a", second="b", ties=["tie"]),
            )
        ),
    ),
)
"""Schemas of rows with two responses and a label."""
