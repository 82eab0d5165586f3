"""Rows that hold one response and whether it is desirable, as KTO learns from."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from orpo.data.columns import label_of
from orpo.data.pairs import Example, Prompt, RowCounts, UnusableRowError
from orpo.data.rows import Row
from orpo.data.schemas.base import Schema, Settings, Values, only, present
from orpo.data.schemas.context import Context
from orpo.data.shapes import answered_prompt, any_answer, is_message, is_messages, make_pair, make_single

UNPAIRED = "unpaired: needs an objective that takes them"

_LABELS = {"true": True, "false": False, "1.0": True, "0.0": False}
"""Meanings of labels, spelt as by `label_of`."""


@dataclass(frozen=True)
class Unpaired:
    """A column with a response and one with its label, true for desirable.

    Where a prompt has both labels, its first desirable response is paired with its first undesirable one, the
    second with the second, and so on.
    """

    context: Context
    completion: str
    label: str = "label"
    options: frozenset[str] = frozenset()
    joins_rows: bool = True

    @property
    def columns(self) -> tuple[str, ...]:
        """See `Layout`."""
        return (*self.context.columns, self.completion, self.label)

    def examples(self, rows: Iterable[Row], settings: Settings, counts: RowCounts) -> Iterator[Example]:
        """See `Layout`; both rows of a pair are kept or dropped together, and the others come last."""
        waiting: dict[Prompt, _Waiting] = defaultdict(_Waiting)
        for row in rows:
            try:
                prompt, text, is_desirable = self._read(row)
            except UnusableRowError as unusable:
                counts.drop(unusable.reason, row.where)
                continue
            partner = waiting[prompt].partner_of(_Response(text, row.where), is_desirable)
            if partner is not None:
                yield from _pair(prompt, *partner, counts)
        for prompt, responses in waiting.items():
            for response, is_desirable in responses.left():
                if settings.keep_unpaired:
                    yield from _single(prompt, response, is_desirable, counts)
                else:
                    counts.drop(UNPAIRED, response.where)

    def _read(self, row: Row) -> tuple[Prompt, str, bool]:
        label = _LABELS.get(label_of(present(row.values, self.label)) or "")
        if label is None:
            raise UnusableRowError(f"label not understood in `{self.label}`")
        answer = any_answer(present(row.values, self.completion))
        return answered_prompt(self.context.read(row.values), answer), answer.text, label


@dataclass(frozen=True)
class _Response:
    text: str
    where: str


@dataclass
class _Waiting:
    """The responses to one prompt that are not paired yet; one of the two queues is always empty."""

    desirable: deque[_Response] = field(default_factory=deque[_Response])
    undesirable: deque[_Response] = field(default_factory=deque[_Response])

    def partner_of(self, response: _Response, is_desirable: bool) -> tuple[_Response, _Response] | None:
        """The desirable and the undesirable response of a new pair, or None if this one has to wait."""
        own, others = self.desirable, self.undesirable
        if not is_desirable:
            own, others = others, own
        if not others:
            own.append(response)
            return None
        other = others.popleft()
        return (response, other) if is_desirable else (other, response)

    def left(self) -> Iterator[tuple[_Response, bool]]:
        """The responses that have found no partner, and whether they are desirable."""
        yield from ((response, True) for response in self.desirable)
        yield from ((response, False) for response in self.undesirable)


def _pair(
    prompt: Prompt, desirable: _Response, undesirable: _Response, counts: RowCounts
) -> Iterator[Example]:
    try:
        pair = make_pair(prompt, desirable.text, undesirable.text, desirable.where)
    except UnusableRowError as unusable:
        counts.drop(unusable.reason, desirable.where)
        counts.drop(unusable.reason, undesirable.where)
    else:
        counts.kept += 2
        yield pair


def _single(prompt: Prompt, response: _Response, is_desirable: bool, counts: RowCounts) -> Iterator[Example]:
    try:
        single = make_single(prompt, response.text, response.where, is_desirable=is_desirable)
    except UnusableRowError as unusable:
        counts.drop(unusable.reason, response.where)
    else:
        counts.kept += 1
        yield single


def _is_label(value: Any) -> bool:
    """Whether a value can be nothing else; numbers can be classes of any kind."""
    return label_of(value) in ("true", "false")


def _labelled(completion: str, fits: Callable[[Any], bool]) -> Callable[[Values], bool]:
    """A test for rows with a true or false label and such a completion."""
    return lambda values: _is_label(values.get("label")) and fits(values.get(completion))


_IS_COMPLETION = _labelled(
    "completion", lambda value: isinstance(value, str) or is_messages(value) or is_message(value)
)

UNPAIRED_SCHEMAS = (
    Schema(
        "KTO rows",
        "`completion` after a `system` turn and a `prompt`, with a true or false label",
        lambda values: "prompt" in values and "system" in values and _IS_COMPLETION(values),
        only(Unpaired(Context("prompt", system="system"), "completion")),
    ),
    Schema(
        "KTO rows",
        "`completion` of a `prompt`, with a true or false label",
        lambda values: "prompt" in values and _IS_COMPLETION(values),
        only(Unpaired(Context("prompt", plain=True), "completion")),
    ),
    *(
        Schema(
            "KTO conversations",
            f"`{messages}` with a true or false label",
            _labelled(messages, is_messages),
            only(Unpaired(Context(), messages)),
        )
        for messages in ("messages", "conversations")
    ),
)
"""Schemas of rows with one response and its label."""
