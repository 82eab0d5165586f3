"""Who is preferred to whom by a judge, on the responses of all seeds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orpo.comparison.evidence import Evidence
from orpo.comparison.measures import Figure, Measure, difference
from orpo.config.compare import BASE
from orpo.judging.comparison import Comparison
from orpo.judging.contest import judge_systems, standings
from orpo.judging.outputs import Output, System
from orpo.judging.verdicts import Judge
from orpo.rundir.records import Assessment
from orpo.statistics.bradley_terry import Strength
from orpo.statistics.comparisons import compare_win_rates
from orpo.statistics.intervals import Interval
from orpo.statistics.winrate import TIE, WinRate

WIN_RATE = "win_rate"


@dataclass(frozen=True)
class WinRates:
    """The verdicts on every pair of systems."""

    judge: str
    assessment: Assessment | None
    """Of the judge on held-out pairs, if anybody has measured it."""

    rates: Mapping[tuple[str, str], WinRate]
    """Of the first over the second."""

    measure: Measure
    """Win rates as figures over the model before training, and as differences above one half."""

    strengths: tuple[Strength, ...]
    """The strongest first."""

    @property
    def is_fit(self) -> bool:
        """Whether the judge is known to be fit to judge."""
        return self.assessment is not None and self.assessment.fit_to_judge


def judged(evidence: Evidence, judge: Judge, assessment: Assessment | None, folder: Path) -> WinRates | None:
    """Ask a judge about every pair of systems; None if it has no verdict on any.

    Responses with the same seed, to the same prompt, are compared with each other in the order of samples.

    Args:
        evidence: with the responses.
        judge: whom to ask.
        assessment: of the judge.
        folder: for its annotations.

    Raises:
        OrpoError: see `judge_systems`.
    """
    names = evidence.compared
    contests = judge_systems(judge, [_outputs(evidence, name) for name in names], folder)
    comparisons = {(one.comparison.model, one.comparison.baseline): one.comparison for one in contests}
    rates = {pair: rate for pair, one in comparisons.items() if (rate := one.win_rate()) is not None}
    if not rates:
        return None
    by_seed = {pair: _by_seed(comparisons[pair], len(evidence.seeds)) for pair in rates}
    table = standings(contests)
    measure = Measure(
        WIN_RATE,
        "win rate",
        "prompts",
        {
            second: _over_first(rates[first, second], by_seed[first, second])
            for first, second in rates
            if first == BASE
        },
        tuple(
            difference(one, [value - TIE for value in by_seed[one.first, one.second]])
            for one in compare_win_rates(rates)
        ),
    )
    return WinRates(judge.name, assessment, rates, measure, table.strengths if table is not None else ())


def _outputs(evidence: Evidence, name: str) -> System:
    """The responses of a system: by seed, then by prompt, then by sample."""
    rows = [row for one in evidence.evaluations(name) for row in one.responses]
    return System(name, tuple(Output(instruction=row.instruction, output=row.response) for row in rows))


def _by_seed(comparison: Comparison, seeds: int) -> tuple[float, ...]:
    """Mean preference for the first with each seed; one half without a verdict."""
    preferences = np.array([one.preference for one in comparison.judgements]).reshape(seeds, -1)
    return tuple(TIE if np.isnan(one).all() else float(np.nanmean(one)) for one in preferences)


def _over_first(rate: WinRate, by_seed: Sequence[float]) -> Figure:
    """The win rate of the second of a pair."""
    low, high = rate.interval
    return Figure(1 - rate.rate, Interval(1 - high, 1 - low), tuple(1 - value for value in by_seed))
