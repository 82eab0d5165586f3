"""A comparison as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from orpo.comparison import pictures
from orpo.comparison.claims import Verdict
from orpo.comparison.evidence import Evidence
from orpo.comparison.figures import ACCURACY
from orpo.comparison.measures import Difference, Measure
from orpo.comparison.pictures import Picture
from orpo.comparison.recommendation import RULES
from orpo.comparison.record import Findings
from orpo.config.compare import BASE
from orpo.credentials import redact
from orpo.pages.page import render
from orpo.report.charts import STYLES, spread
from orpo.statistics.winrate import TIE
from orpo.text import duration, printable

LONGEST = 300
"""Characters that are shown of names and the like; responses are folded instead."""

SAMPLES = 5
"""Prompts whose responses are shown, evenly chosen from all."""

SIGNS = {
    Verdict.HOLDS: "✓",
    Verdict.FAILS: "✗",
    Verdict.UNKNOWN: "?",
    Verdict.NOT_TESTED: "–",
}

CLASSES = {
    Verdict.HOLDS: "finished",
    Verdict.FAILS: "failed",
    Verdict.UNKNOWN: "unfinished",
    Verdict.NOT_TESTED: "",
}


@dataclass(frozen=True)
class WinCell:
    """A place of the win matrix."""

    text: str
    detail: str
    shade: int
    """Percent of colour."""

    wins: bool
    decided: bool


@dataclass(frozen=True)
class Sample:
    """A prompt, and what the systems say to it."""

    prompt: str
    responses: tuple[tuple[str, str, bool], ...]
    """System, response, and whether it was cut off."""


def as_page(found: Findings) -> str:
    """The page; whatever comes from data and models is escaped, and none of it can run."""
    evidence = found.evidence
    signs = pictures.marks(evidence)
    wins = found.wins
    quality = wins.measure if wins is not None else found.measures[ACCURACY]
    page = render(
        "comparison/page.html.jinja",
        {
            "found": found,
            "evidence": evidence,
            "plan": evidence.plan,
            "base": BASE,
            "marks": signs,
            "tables": _tables(found),
            "courses": pictures.log_probabilities(evidence),
            "pictures": [
                picture
                for picture in (
                    pictures.margins(evidence, signs),
                    pictures.diversity(found.measures, quality, evidence.compared, signs),
                    *_costs(evidence, signs),
                )
                if picture is not None
            ],
            "costs": _mean_costs(evidence),
            "matrix": _matrix(found),
            "samples": _samples(evidence),
            "rules": RULES,
            "verdict_signs": SIGNS,
            "verdict_classes": CLASSES,
            "styles": STYLES,
        },
        {
            "shown": partial(printable, limit=LONGEST),
            "duration": duration,
            "number": _number,
            "signed": _signed,
            "share": _share,
            "mark": _mark,
            "bytes": _bytes,
        },
    )
    return redact(page)


def _tables(found: Findings) -> dict[str, list[Measure]]:
    """The measures by what they are of."""
    measures = [*([found.wins.measure] if found.wins is not None else []), *found.measures.values()]
    titles = {"pairs": "Held-out pairs", "prompts": "Responses"}
    return {title: [one for one in measures if one.items == items] for items, title in titles.items()}


def _costs(evidence: Evidence, signs: Mapping[str, str]) -> Iterator[Picture | None]:
    shown = {name: cost for name, cost in _mean_costs(evidence).items() if name in signs}
    yield pictures.bars(
        "Time of optimizer steps, mean over seeds",
        {name: (seconds, duration(seconds)) for name, (seconds, *_) in shown.items()},
        signs,
    )
    yield pictures.bars(
        "Peak memory of the last phase's process, mean over seeds",
        {name: (memory, _bytes(memory)) for name, (_, _, memory, _) in shown.items() if memory},
        signs,
    )


def _mean_costs(evidence: Evidence) -> dict[str, tuple[float, float, float, float]]:
    """Seconds of steps, seconds with everything else, peak of memory and visits; means over seeds."""
    return {
        name: (
            _mean([one.seconds for one in seeds.values()]),
            _mean([one.wall_seconds for one in seeds.values()]),
            _mean([one.peak_memory_bytes or 0.0 for one in seeds.values()]),
            _mean([one.visits for one in seeds.values()]),
        )
        for name, seeds in evidence.trained.items()
        if seeds
    }


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _matrix(found: Findings) -> dict[str, dict[str, WinCell | None]] | None:
    """For each row's system, how often it wins against each column's."""
    if found.wins is None:
        return None
    names = found.evidence.compared
    return {row: {column: _win_cell(found.wins.measure, row, column) for column in names} for row in names}


def _win_cell(measure: Measure, row: str, column: str) -> WinCell | None:
    found = measure.between(row, column)
    if found is None:
        return None
    low, high = found.interval
    return WinCell(
        _share(found.value + TIE),
        f"{_share(low + TIE)} to {_share(high + TIE)}",
        round(min(1.0, 2 * abs(found.value)) * 60),
        found.value > 0,
        found.sign != 0,
    )


def _samples(evidence: Evidence) -> list[Sample]:
    """What every system says first to some of the prompts, with the first seed."""
    firsts = {
        name: [row for row in evidence.evaluations(name)[0].responses if row.sample == 0]
        for name in evidence.compared
    }
    chosen = spread(range(evidence.prompts), SAMPLES) if evidence.prompts else []
    return [
        Sample(
            firsts[BASE][i].instruction,
            tuple((name, rows[i].response, rows[i].truncated) for name, rows in firsts.items()),
        )
        for i in chosen
    ]


def _number(value: float) -> str:
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def _signed(value: float) -> str:
    value += 0.0  # which takes the sign from zero
    return f"{value:+.3f}" if abs(value) < 100 else f"{value:+,.0f}"


def _share(value: float) -> str:
    return f"{value:.1%}"


def _bytes(value: float) -> str:
    return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def _mark(found: Difference | None) -> str:
    """Whether a difference is decided, and which way."""
    if found is None:
        return ""
    return {1: "▲", -1: "▼", 0: "≈" if found.significant else ""}[found.sign]
