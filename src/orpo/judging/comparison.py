"""What verdicts say about two models: win rate, length, position, and what is not known."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from orpo.judging.outputs import Item
from orpo.judging.verdicts import Judge, Question, Status, Verdict
from orpo.statistics.intervals import Floats
from orpo.statistics.length_control import LengthControlled, length_controlled
from orpo.statistics.position import BothOrders, both_orders
from orpo.statistics.winrate import WinRate, win_rate

_BY_SEVERITY = list(Status)


@dataclass(frozen=True)
class Judgement:
    """An item with the judge's preference for the model's response, in [0, 1]; NaN where there is none."""

    item: Item
    preference: float
    status: Status

    model_first: float = float("nan")
    """The preference for the model when its response was shown first, where both orders are known."""

    baseline_first: float = float("nan")
    """The same when it was shown second."""

    margin: float | None = None
    """How much better the model's response is, on the judge's own scale, if it has one."""


@dataclass(frozen=True)
class Comparison:
    """A model against a baseline."""

    model: str
    baseline: str
    judge: str
    judgements: tuple[Judgement, ...]
    reasons: Mapping[str, int] = field(default_factory=dict[str, int])
    """Why there is no verdict, and for how many questions; an item in two orders is two."""

    has_texts: bool = True
    """Whether the items hold what was judged; of some published verdicts only the verdicts are known."""

    @property
    def counts(self) -> Counter[Status]:
        """Items by what became of them."""
        return Counter(one.status for one in self.judgements)

    @property
    def valid(self) -> list[Judgement]:
        """Those with a preference."""
        return [one for one in self.judgements if one.status is Status.VALID]

    def win_rate(self) -> WinRate | None:
        """Of the model; items on the same instruction are drawn together.  None without a valid verdict."""
        valid = self.valid
        return win_rate(_preferences(valid), clusters=_instructions(valid)) if valid else None

    def length_controlled(self) -> LengthControlled | None:
        """The win rate at equal length, fitted to these verdicts alone; None where they do not allow it."""
        valid = self.valid
        if not valid or not self.has_texts:
            return None
        return length_controlled(
            _preferences(valid),
            [len(one.item.model) for one in valid],
            [len(one.item.baseline) for one in valid],
            clusters=_instructions(valid),
        )

    def orders(self) -> BothOrders | None:
        """What the order of the responses did; None where only one order is known."""
        orders = both_orders(
            [one.model_first for one in self.judgements], [one.baseline_first for one in self.judgements]
        )
        return orders if len(orders.readable) else None

    def mean_lengths(self) -> tuple[float, float] | None:
        """Characters of the responses of the model and of the baseline, if they are known."""
        if not self.has_texts:
            return None
        items = [one.item for one in self.judgements]
        return (
            float(np.mean([len(item.model) for item in items])),
            float(np.mean([len(item.baseline) for item in items])),
        )


def compare(judge: Judge, items: Sequence[Item], *, model: str, baseline: str) -> Comparison:
    """Ask about every item; in both orders if that may matter, and it is a tie where they are contradictory.

    The two orders of an item are asked one after the other, so that a limit leaves few halves.

    Raises:
        NetworkError: see `Judge.judge`.
    """
    ask = _in_both_orders if judge.both_orders else _in_one_order
    judgements, verdicts = ask(judge, items)
    reasons = Counter(one.reason for one in verdicts if one.status is not Status.VALID)
    return Comparison(model, baseline, judge.name, tuple(judgements), reasons)


def _in_one_order(judge: Judge, items: Sequence[Item]) -> tuple[list[Judgement], list[Verdict]]:
    verdicts = judge.judge([Question(one.instruction, one.model, one.baseline) for one in items])
    judgements = [
        Judgement(item, preference, verdict.status, margin=verdict.margin)
        for item, preference, verdict in zip(items, _for_first(verdicts).tolist(), verdicts, strict=True)
    ]
    return judgements, verdicts


def _in_both_orders(judge: Judge, items: Sequence[Item]) -> tuple[list[Judgement], list[Verdict]]:
    both = [
        question
        for one in items
        for question in (
            Question(one.instruction, one.model, one.baseline),
            Question(one.instruction, one.baseline, one.model),
        )
    ]
    verdicts = judge.judge(both)
    model_first, baseline_first = verdicts[::2], verdicts[1::2]
    for_model = _for_first(model_first), 1 - _for_first(baseline_first)
    joined = both_orders(*for_model)
    judgements = [
        Judgement(item, float(preference), _worst(*pair), *map(float, orders))
        for item, preference, pair, orders in zip(
            items,
            joined.preferences,
            zip(model_first, baseline_first, strict=True),
            zip(*for_model, strict=True),
            strict=True,
        )
    ]
    return judgements, verdicts


def _worst(*verdicts: Verdict) -> Status:
    return max((one.status for one in verdicts), key=_BY_SEVERITY.index)


def _for_first(verdicts: Sequence[Verdict]) -> Floats:
    given = [np.nan if one.preference is None else one.preference for one in verdicts]
    return np.array(given, dtype=np.float64)


def _preferences(judgements: Sequence[Judgement]) -> list[float]:
    return [one.preference for one in judgements]


def _instructions(judgements: Sequence[Judgement]) -> list[str]:
    return [one.item.instruction for one in judgements]
