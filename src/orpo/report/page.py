"""The report as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from markupsafe import Markup

from orpo.credentials import redact
from orpo.pages.page import render
from orpo.report import charts
from orpo.report.comparison import compare, plain
from orpo.report.evaluation import all_figures, cautions, pair_parts, response_figures, side_by_side
from orpo.report.metrics import HELD_OUT
from orpo.report.panels import MOST_ROWS, figures, number
from orpo.report.run import Run
from orpo.rundir.records import ReliabilityBin
from orpo.statistics.intervals import Interval, wilson
from orpo.text import duration, printable

LONGEST = 300
"""Characters that are shown of any text from outside."""

LONGEST_COMMAND = 4000
"""Characters of a command, which is of no use unless it is whole."""

MOST_LISTED = 20
"""Rows, steps and the like that are listed of those that may be thousands."""

WORDS = {
    "finished": "finished",
    "interrupted": "interrupted: it was asked to end, and can be gone on with",
    "failed": "failed: an error ended it",
    "unfinished": "unfinished: there is no account of its end",
}
"""How a run ended."""

SIGNS = {"finished": "✓", "interrupted": "‖", "failed": "✗", "unfinished": "…"}


def as_page(runs: Sequence[Run]) -> str:
    """The page; whatever comes from the runs is escaped, and none of it can run."""
    page = render(
        "report/page.html.jinja",
        {
            "runs": runs,
            "figures": figures(runs),
            "comparison": compare(runs) if len(runs) > 1 else None,
            "metrics": _metrics(runs),
            "parts": {run.label: pair_parts(run.evaluation.record) for run in runs if run.evaluation},
            "responses": {
                run.label: response_figures(run.evaluation.record) for run in runs if run.evaluation
            },
            "evaluated": {run.label: all_figures(run.evaluation.record) for run in runs if run.evaluation},
            "evaluation_cautions": list(cautions(runs)),
            "asked": side_by_side(runs),
            "styles": charts.STYLES,
            "words": WORDS,
            "signs": SIGNS,
            "most": MOST_LISTED,
            "rows": MOST_ROWS,
        },
        {
            "shown": partial(printable, limit=LONGEST),
            "plain": plain,
            "number": number,
            "signed": _signed,
            "share": _share,
            "interval": _interval,
            "limits": _limits,
            "command": partial(printable, limit=LONGEST_COMMAND),
            "duration": duration,
            "bytes": _bytes,
            "reliability": _reliability,
            "bin_interval": _bin_interval,
        },
    )
    return redact(page)


def _metrics(runs: Sequence[Run]) -> dict[str, str]:
    """The held-out metrics that any run has, with their titles."""
    return {name: title for name, title in HELD_OUT.items() if any(name in run.changes for run in runs)}


def _signed(value: float) -> str:
    return ("+" if value >= 0 else "") + number(value)


def _share(value: float) -> str:
    return f"{value:.1%}"


def _interval(interval: Interval) -> str:
    return f"{interval.low:.3f} to {interval.high:.3f}"


def _limits(interval: tuple[float, float]) -> str:
    return f"{number(interval[0])} to {number(interval[1])}"


def _bytes(value: float) -> str:
    """Memory in units of 1,024 bytes and so on."""
    return f"{value / 2**30:.2f} GiB" if value >= 2**30 else f"{value / 2**20:.0f} MiB"


def _bin_interval(one: ReliabilityBin) -> Interval:
    return wilson(one.accuracy * one.pairs, one.pairs)


def _reliability(bins: Sequence[ReliabilityBin]) -> Markup:
    return charts.reliability(
        "How often the reward model is right, against how sure it is",
        [(one.confidence, one.accuracy, _bin_interval(one)) for one in bins],
    )
