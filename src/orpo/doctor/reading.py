"""What the reader's account of the rows says about a source."""

from __future__ import annotations

import re

from orpo.data.pairs import EMPTY_RESPONSE, RowCounts
from orpo.data.schemas.base import BELOW_MARGIN, TIE
from orpo.data.shapes import IDENTICAL, PROMPTS_DIFFER, REPEATED_PROMPT, UNKNOWN_ROLE
from orpo.data.transcripts import NOT_THE_ASSISTANTS
from orpo.doctor.findings import Finding, Problem, Severity, example
from orpo.errors import DataError
from orpo.text import printable

_ADVICE = {
    IDENTICAL: "Nothing can be learned from them. Many point to a fault where the pairs were made.",
    EMPTY_RESPONSE: "Find out whether the text was lost on the way, or the model that wrote it gave up.",
    PROMPTS_DIFFER: "Two responses are comparable only after the same conversation. Cut both to what they "
    "share, or leave these rows out.",
    NOT_THE_ASSISTANTS: "The last turn must be the response. Remove what follows it.",
    UNKNOWN_ROLE: "Rename the roles to system, user and assistant.",
    REPEATED_PROMPT: "Remove the prompt from the beginning of the responses.",
}
_GENERAL_ADVICE = "Look at the first such row; the others have the same fault."
_MEANT = (TIE, BELOW_MARGIN)
_CONDITION = "does not meet `where`"


def unreadable(use: str, error: DataError) -> Finding:
    """The finding of a source that cannot be read, or has no usable row."""
    problem = Problem(
        "unreadable",
        Severity.FATAL,
        "the source cannot be read, or none of its rows can be used",
        error.hint or "The message says where; `docs/data.md` says which files and columns are read.",
    )
    return Finding(problem, use, 1, 1, tuple(example(use, line) for line in error.message.splitlines()[:8]))


def dropped_rows(use: str, counts: RowCounts) -> list[Finding]:
    """A finding for each reason for which the reader dropped rows; it keeps the first row of each."""
    return [
        Finding(_problem(reason), use, number, counts.read, (example(counts.examples[reason], reason),))
        for reason, number in counts.dropped.most_common()
    ]


def dropped_by_fault(counts: RowCounts) -> int:
    """Rows that were dropped, but for ties and what the source's own options leave out."""
    return sum(number for reason, number in counts.dropped.items() if not _is_meant(reason))


def too_many_dropped(use: str, dropped: int, total: int, limit: float) -> list[Finding]:
    """A finding where more than the share `limit` of all rows is dropped."""
    if dropped <= limit * total:
        return []
    problem = Problem(
        "too_many_dropped",
        Severity.FATAL,
        f"{dropped / total:.1%} of the rows are dropped, and at most {limit:.1%} may be",
        "The other findings say why. If it is as it should be, raise `--max-dropped`.",
    )
    return [Finding(problem, use, dropped, total, ())]


def _problem(reason: str) -> Problem:
    name = "dropped_" + re.sub(r"[^a-z0-9]+", "_", reason.casefold()).strip("_")
    title = f"dropped: {printable(reason)}"
    if _is_meant(reason):
        return Problem(name, Severity.NOTE, title, "This is as it should be, and no part of `--max-dropped`.")
    return Problem(name, Severity.WARNING, title, _ADVICE.get(reason, _GENERAL_ADVICE))


def _is_meant(reason: str) -> bool:
    return reason in _MEANT or reason.startswith(_CONDITION)
