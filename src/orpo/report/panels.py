"""Which curves are drawn: of one run side by side in a panel, of several runs a panel for each curve."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from markupsafe import Markup

from orpo.report import charts
from orpo.report.charts import Series
from orpo.report.run import ACCURACY, Run
from orpo.rundir.records import LogRow
from orpo.text import printable

Log = Literal["train", "eval", "timing"]

MOST_ROWS = 12
"""Of the table beside a picture."""

LONGEST_NAME = 32
"""Characters of a run's name in a legend."""

_SAID: Mapping[Log, str] = {"train": "training", "eval": "held out", "timing": "training"}


@dataclass(frozen=True)
class Curve:
    """A metric of a log."""

    log: Log
    name: str
    what: str = ""
    """Tells it from others of the same panel and log."""

    @property
    def label(self) -> str:
        """What it is, in words."""
        return ", ".join(filter(None, (self.what, _SAID[self.log])))


@dataclass(frozen=True)
class Panel:
    """Curves that belong together."""

    title: str
    curves: tuple[Curve, ...]
    unit: float = 1.0
    """What values are divided by."""

    bounds: tuple[float, float] | None = None
    chance: float | None = None


def _both(name: str, what: str = "") -> tuple[Curve, Curve]:
    return Curve("train", name, what), Curve("eval", name, what)


PANELS = (
    Panel("Loss", _both("loss")),
    Panel(
        "Mean log-probability per token",
        (
            Curve("train", "logps/chosen", "chosen"),
            Curve("train", "logps/rejected", "rejected"),
            Curve("eval", "logps/chosen", "chosen"),
            Curve("eval", "logps/rejected", "rejected"),
        ),
    ),
    Panel("Mean log odds ratio", _both("log_odds_chosen"), chance=0.0),
    Panel("Mean reward margin", _both("rewards/margins"), chance=0.0),
    Panel("Pair accuracy", _both(ACCURACY), bounds=(0.0, 1.0), chance=0.5),
    Panel("Supervised loss (NLL)", _both("nll_loss")),
    Panel("KL divergence from the reference, estimated", _both("kl")),
    Panel("Brier score", _both("brier")),
    Panel("Gradient norm", (Curve("train", "grad_norm"),)),
    Panel("Learning rate", (Curve("train", "learning_rate"),)),
    Panel("Tokens per second", (Curve("timing", "tokens_per_second"),)),
    Panel("Pairs per second", (Curve("timing", "pairs_per_second"),)),
    Panel("Peak memory, GiB", (Curve("timing", "peak_memory_bytes"),), unit=2.0**30),
)


@dataclass(frozen=True)
class Figure:
    """A picture, its legend, and its numbers."""

    title: str
    series: tuple[Series, ...]
    picture: Markup

    @property
    def steps(self) -> list[int]:
        """All steps that have a value."""
        return sorted({step for one in self.series for step, _ in one.points})

    @property
    def table(self) -> Iterator[tuple[int, list[str]]]:
        """Steps from the first to the last, and what each series has there."""
        for step in charts.spread(self.steps, MOST_ROWS):
            yield step, [_cell(one, step) for one in self.series]


def _cell(series: Series, step: int) -> str:
    value = dict(series.points).get(step)
    interval = dict(series.intervals).get(step)
    if value is None:
        return "–"
    return number(value) + (f" ({interval.low:.3f} to {interval.high:.3f})" if interval is not None else "")


def number(value: float) -> str:
    """A metric as text with about four digits that count."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.3e}"
    return f"{value:.4f}" if abs(value) < 100 else f"{value:,.1f}"


def figures(runs: Sequence[Run]) -> list[Figure]:
    """The pictures of one run, or of several over each other; curves without values are left out."""
    if len(runs) == 1:
        drawn = [_figure(panel, panel.title, _of_one(panel, runs[0])) for panel in PANELS]
    else:
        drawn = [
            _figure(panel, f"{panel.title}: {curve.label}", _of_many(panel, curve, runs))
            for panel in PANELS
            for curve in panel.curves
        ]
    return [figure for figure in drawn if figure is not None]


def _of_one(panel: Panel, run: Run) -> list[Series | None]:
    return [
        _series(run, panel, curve, label=curve.label, mark="", style=style)
        for style, curve in enumerate(panel.curves)
    ]


def _of_many(panel: Panel, curve: Curve, runs: Sequence[Run]) -> list[Series | None]:
    return [
        _series(run, panel, curve, label=printable(run.name, LONGEST_NAME), mark=run.label, style=style)
        for style, run in enumerate(runs)
    ]


def _series(run: Run, panel: Panel, curve: Curve, *, label: str, mark: str, style: int) -> Series | None:
    points = [(row.step, row.values[curve.name]) for row in _rows(run, curve.log) if curve.name in row.values]
    if not points:
        return None
    intervals = (
        [(step, run.interval_of(curve.name, value)) for step, value in points] if curve.log == "eval" else []
    )
    return Series(
        label,
        mark,
        style,
        tuple((step, value / panel.unit) for step, value in points),
        tuple((step, interval) for step, interval in intervals if interval is not None),
        strong=curve.log == "eval",
    )


def _rows(run: Run, log: Log) -> Sequence[LogRow]:
    if log == "timing":
        return run.records.timing
    return [row for row in run.records.metrics if row.split == log]


def _figure(panel: Panel, title: str, found: Sequence[Series | None]) -> Figure | None:
    series = tuple(one for one in found if one is not None)
    if not series:
        return None
    picture = charts.curves(title, series, bounds=panel.bounds, chance=panel.chance)
    return Figure(title, series, picture)
