"""What a judge is asked, and what it says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol


@dataclass(frozen=True)
class Question:
    """Which of two responses is better; the judge does not learn whose they are."""

    instruction: str
    first: str
    second: str


class Status(StrEnum):
    """What became of a question, the worst last."""

    VALID = "valid"
    INVALID = "invalid"
    """Answered, but no verdict can be read: it is unparsable, none, or more than one.  Not a tie."""

    NOT_ASKED = "not asked"
    """A limit was reached."""

    ERROR = "error"
    """The judge did not answer."""


@dataclass(frozen=True)
class Verdict:
    """What a judge said to one question."""

    status: Status

    preference: float | None = None
    """For what was shown first, in [0, 1]; None unless valid."""

    reason: str = ""
    """Why it is not valid."""

    margin: float | None = None
    """How much better what was shown first is, on the judge's own scale, if it has one."""


def preferring(preference: float, *, margin: float | None = None) -> Verdict:
    """A valid verdict; `preference` is for what was shown first, in [0, 1]."""
    return Verdict(Status.VALID, preference, margin=margin)


class Judge(Protocol):
    """Whatever answers questions."""

    name: str

    both_orders: bool
    """Whether what is shown first may matter, so that it is asked in both orders."""

    def judge(self, questions: Sequence[Question]) -> list[Verdict]:
        """One verdict for each question, in their order.

        Raises:
            NetworkError: there is no use in asking on.
        """
        ...
