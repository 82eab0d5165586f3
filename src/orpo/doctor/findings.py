"""What can be wrong, and where it was found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from orpo.text import printable

MOST_EXAMPLES = 5
"""Examples that a finding keeps; its count is of all."""

_EXCERPT = 160


class Severity(StrEnum):
    """How bad a problem is."""

    FATAL = "fatal"
    """Do not train on this."""

    WARNING = "warning"
    """It will train, and probably not as you hope."""

    NOTE = "note"
    """Worth knowing."""


@dataclass(frozen=True)
class Problem:
    """A kind of fault."""

    name: str
    """Stable identifier, such as `swapped_pairs`."""

    severity: Severity
    title: str
    """What it is, as one line."""

    advice: str
    """What to do about it."""


@dataclass(frozen=True)
class Example:
    """One row with a problem, safe to show: made by `example`."""

    where: str
    text: str


def example(where: str, text: str) -> Example:
    """An example from any text, without what a terminal or a page would obey."""
    return Example(printable(where), printable(text[: _EXCERPT + 1], _EXCERPT))


@dataclass(frozen=True)
class Finding:
    """A problem that was found."""

    problem: Problem
    use: str
    """Where: `train`, `eval`, or `train and eval`."""

    count: int
    """Rows that have it."""

    total: int
    """Rows that were looked at."""

    examples: tuple[Example, ...]
    """The first of these rows."""


def found(problem: Problem, use: str, hits: Sequence[Example], total: int) -> list[Finding]:
    """The finding of `hits`, or nothing where there are none."""
    if not hits:
        return []
    return [Finding(problem, use, len(hits), total, tuple(hits[:MOST_EXAMPLES]))]


def worst_first(findings: Sequence[Finding]) -> tuple[Finding, ...]:
    """Fatal ones, then warnings, then notes, each in the given order."""
    order = list(Severity)
    return tuple(sorted(findings, key=lambda finding: order.index(finding.problem.severity)))
