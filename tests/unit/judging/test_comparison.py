from __future__ import annotations

from collections.abc import Sequence

import pytest

from orpo.judging.comparison import Comparison, compare
from orpo.judging.outputs import Item
from orpo.judging.verdicts import Question, Status, Verdict, preferring


class Scripted:
    """Says what it is told to, by instruction: with the model first, and with the baseline first."""

    name = "scripted"
    both_orders = True

    def __init__(self, said: dict[str, tuple[Verdict, Verdict]]) -> None:
        self.said = said

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        return [self.said[one.instruction][one.first != "model's"] for one in questions]


FIRST, SECOND, TIE = preferring(1.0), preferring(0.0), preferring(0.5)
INVALID = Verdict(Status.INVALID, reason="unreadable")
ERROR = Verdict(Status.ERROR, reason="HTTP 500")
NOT_ASKED = Verdict(Status.NOT_ASKED, reason="limit")


def judged(*said: tuple[Verdict, Verdict]) -> Comparison:
    by_instruction = {f"q{n}": one for n, one in enumerate(said)}
    items = [Item(instruction, "model's", "baseline's!") for instruction in by_instruction]
    return compare(Scripted(by_instruction), items, model="ours", baseline="theirs")


def test_both_orders_make_one_verdict() -> None:
    found = judged(
        (FIRST, SECOND), (SECOND, FIRST), (TIE, TIE), (FIRST, FIRST), (SECOND, SECOND), (FIRST, TIE)
    )
    assert [one.preference for one in found.judgements] == [1.0, 0.0, 0.5, 0.5, 0.5, 0.5]
    rate, orders = found.win_rate(), found.orders()
    assert rate is not None
    assert orders is not None
    assert (rate.wins, rate.ties, rate.losses, rate.rate) == (1, 4, 1, 0.5)
    assert (orders.consistent.hits, orders.first_slot.hits, orders.second_slot.hits) == (3, 1, 1)
    assert orders.consistent.trials == 6


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ((FIRST, INVALID), Status.INVALID),
        ((INVALID, FIRST), Status.INVALID),
        ((INVALID, ERROR), Status.ERROR),
        ((NOT_ASKED, FIRST), Status.NOT_ASKED),
        ((NOT_ASKED, INVALID), Status.NOT_ASKED),
    ],
)
def test_what_lacks_a_verdict_is_counted_and_is_no_tie(said: tuple[Verdict, Verdict], status: Status) -> None:
    found = judged((FIRST, SECOND), said)
    rate = found.win_rate()
    assert rate is not None
    assert (rate.total, rate.ties, rate.rate) == (1, 0, 1.0)
    assert found.counts == {Status.VALID: 1, status: 1}
    assert sum(found.reasons.values()) == sum(one.status is not Status.VALID for one in said)


def test_without_a_verdict_there_are_no_figures() -> None:
    found = judged((ERROR, ERROR))
    assert found.win_rate() is None
    assert found.length_controlled() is None
    assert found.orders() is None
    assert found.mean_lengths() == (7.0, 11.0)


def test_the_orders_of_an_item_are_asked_one_after_the_other() -> None:
    asked: list[Question] = []

    class Listening(Scripted):
        def judge(self, questions: Sequence[Question]) -> list[Verdict]:
            asked.extend(questions)
            return super().judge(questions)

    compare(
        Listening({"q": (TIE, TIE), "r": (TIE, TIE)}),
        [Item("q", "a", "b"), Item("r", "c", "d")],
        model="m",
        baseline="n",
    )
    assert [(one.first, one.second) for one in asked] == [("a", "b"), ("b", "a"), ("c", "d"), ("d", "c")]


def test_samples_of_one_instruction_are_not_taken_for_independent() -> None:
    said = {"q": (FIRST, SECOND), "r": (SECOND, FIRST)}
    few = compare(Scripted(said), [Item(q, "model's", "x") for q in said], model="m", baseline="b")
    many = compare(Scripted(said), [Item(q, "model's", "x") for q in said] * 20, model="m", baseline="b")
    one, other = few.win_rate(), many.win_rate()
    assert one is not None
    assert other is not None
    assert one.p_value == other.p_value == 1.0
    assert one.standard_error == pytest.approx(other.standard_error)
