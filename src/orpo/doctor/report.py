"""A diagnosis as one object, from which table, JSON and page are made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orpo.data import SourceReport
from orpo.doctor.findings import Finding, Severity
from orpo.doctor.lengths import Lengths
from orpo.doctor.signal import Signal
from orpo.doctor.truncation import Cut
from orpo.statistics.rates import Rate


@dataclass(frozen=True)
class NotRun:
    """A check that could not be made."""

    name: str
    reason: str


@dataclass(frozen=True)
class Part:
    """What was measured on the examples of one use."""

    use: str
    """`train` or `eval`."""

    pairs: int
    """Pairs that the reader kept."""

    singles: int
    """Single responses that it kept."""

    sources: tuple[SourceReport, ...]
    """What became of the rows; empty for what was held out of another part's sources."""

    lengths: tuple[Lengths, ...]
    """Of prompts, chosen and rejected responses, single responses: of those that are there."""

    length_bias: Rate
    """How often the longer response is the chosen one, of the pairs whose lengths differ."""

    signal: Signal | None
    """None where there are too few pairs to tell."""

    languages: Mapping[str, int]
    """Chosen and single responses by language code, the most frequent first; `und` where the text does not
    tell."""

    cuts: tuple[Cut, ...]
    """What each `max_length` would do; empty without a model."""

    @property
    def examples(self) -> int:
        """Pairs and single responses."""
        return self.pairs + self.singles


@dataclass(frozen=True)
class Report:
    """A diagnosis."""

    parts: tuple[Part, ...]
    findings: tuple[Finding, ...]
    """The worst first."""

    not_run: tuple[NotRun, ...]
    settings: Mapping[str, str | int | float]
    """What the checks were made with, such as `model`, `template`, `max_length`."""

    @property
    def fatal(self) -> bool:
        """Whether anything is fatal."""
        return any(finding.problem.severity is Severity.FATAL for finding in self.findings)
