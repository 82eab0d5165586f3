"""Pictures of a comparison, as SVG; every one has its numbers in a table of the page."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from orpo.comparison.evidence import Evidence
from orpo.comparison.figures import PER_INPUT
from orpo.comparison.measures import Figure, Measure
from orpo.pages import svg
from orpo.report.charts import HEIGHT, STYLES, WIDTH, Series, axes, curves, ticks
from orpo.statistics.intervals import Interval

_ROW, _BAR, _NAMES, _VALUES = 26, 14, 40, 90

_SEVERAL = 5
"""How much more than the others a system may span on the axes that all have."""

CHOSEN, REJECTED = "logps/chosen", "logps/rejected"


@dataclass(frozen=True)
class Picture:
    """A picture with its title and legend."""

    title: str
    legend: tuple[tuple[str, str, int], ...]
    """Mark, label and style of each thing in it."""

    markup: Markup


def marks(evidence: Evidence) -> dict[str, str]:
    """A sign for each compared system: 0 for the model before training, then letters."""
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
    numbers = (str(number) for number in range(len(letters), len(evidence.compared)))
    return dict(zip(evidence.compared, ["0", *letters, *numbers], strict=False))


def log_probabilities(evidence: Evidence) -> list[Picture]:
    """Chosen and rejected responses over training, a picture for each system.

    All have the same axes, but for systems that span so much more that the others would be flat lines.
    """
    series = {
        name: [
            _course(evidence, name, metric, label, mark, style)
            for style, (metric, label, mark) in enumerate(
                ((CHOSEN, "chosen", "c"), (REJECTED, "rejected", "r"))
            )
        ]
        for name in evidence.compared[1:]
    }
    extents = {
        name: (min(values), max(values))
        for name, both in series.items()
        if (values := [value for one in both for value in _extent(one)])
    }
    common = _common_extent(list(extents.values()))
    pictures: list[Picture] = []
    for name, own in extents.items():
        fits = common[0] <= own[0] and own[1] <= common[1]
        both = series[name]
        pictures.append(
            Picture(
                name if fits else f"{name} (an axis of its own)",
                tuple((one.mark, one.label, one.style) for one in both),
                curves(
                    f"Log-probability of chosen and rejected responses, {name}",
                    both,
                    bounds=common if fits else own,
                ),
            )
        )
    return pictures


def _common_extent(extents: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """What contains all extents from the smallest on, until one would make it several times larger."""
    low, high = math.inf, -math.inf
    for least, most in sorted(extents, key=lambda extent: extent[1] - extent[0]):
        wider = (min(low, least), max(high, most))
        if high > low and wider[1] - wider[0] > _SEVERAL * (high - low):
            break
        low, high = wider
    return low, high


def margins(evidence: Evidence, signs: Mapping[str, str]) -> Picture | None:
    """Chosen less rejected over training, of all systems."""
    series: list[Series] = []
    for name in evidence.compared[1:]:
        both = [dict(_means(evidence, name, metric)) for metric in (CHOSEN, REJECTED)]
        points = tuple((step, value - both[1][step]) for step, value in both[0].items() if step in both[1])
        if points:
            style = _style(evidence.compared, name)
            series.append(Series(name, signs[name], style, points, strong=True))
    if not series:
        return None
    title = "Margin of log-probability per token, held-out pairs"
    return Picture(title, tuple((one.mark, one.label, one.style) for one in series), curves(title, series))


def diversity(
    measures: Mapping[str, Measure], of: Measure, names: Sequence[str], signs: Mapping[str, str]
) -> Picture | None:
    """How alike responses to a prompt are, against a measure of how good they are."""
    if PER_INPUT not in measures:
        return None
    similarity = measures[PER_INPUT]
    points = [
        (name, similarity.figures[name], of.figures[name])
        for name in names
        if name in similarity.figures and name in of.figures
    ]
    title = f"{of.title.capitalize()} against {similarity.title} (left: more diverse)"
    legend = tuple((signs[name], name, _style(names, name)) for name, _, _ in points)
    return Picture(title, legend, _scatter(title, points, names, signs, similarity.title))


def bars(title: str, values: Mapping[str, tuple[float, str]], signs: Mapping[str, str]) -> Picture | None:
    """A value of each system as a bar from zero.

    Args:
        title: what it is.
        values: by system, with their texts.
        signs: of the systems.
    """
    if not values:
        return None
    longest = max(value for value, _ in values.values()) or 1.0
    room = WIDTH - _NAMES - _VALUES
    parts: list[Markup] = []
    for row, (name, (value, words)) in enumerate(values.items()):
        y = row * _ROW + 6
        parts += [
            svg.text(_NAMES - 8, y + 12, signs[name], "end"),
            svg.bar(_NAMES, y, room * value / longest, _BAR, "bar"),
            svg.text(_NAMES + room * value / longest + 6, y + 12, words, "start"),
        ]
    legend = tuple((signs[name], name, -1) for name in values)
    return Picture(title, legend, svg.picture(WIDTH, len(values) * _ROW + 6, title, parts))


def _style(names: Sequence[str], name: str) -> int:
    """The same of a system in all pictures; the model before training, which is first, has the last one."""
    return (names.index(name) - 1) % STYLES


def _scatter(
    title: str,
    points: Sequence[tuple[str, Figure, Figure]],
    names: Sequence[str],
    signs: Mapping[str, str],
    below: str,
) -> Markup:
    """Points with 95 % intervals both ways, each with its sign."""
    ends = [[end for one in figures for end in (*one.interval, one.value)] for figures in _columns(points)]
    x_ticks, y_ticks = (ticks(min(values), max(values)) for values in ends)
    across, up, parts = axes(x_ticks, y_ticks, below)
    for name, x, y in points:
        kind = f"s{_style(names, name)}"
        at = across.at(x.value), up.at(y.value)
        parts += [
            svg.line(across.at(x.interval.low), at[1], across.at(x.interval.high), at[1], f"whisker {kind}"),
            svg.line(at[0], up.at(y.interval.low), at[0], up.at(y.interval.high), f"whisker {kind}"),
            svg.circle(*at, 4, f"dot {kind}"),
            svg.text(at[0] + 6, at[1] - 6, signs[name], "start"),
        ]
    return svg.picture(WIDTH, HEIGHT, title, parts)


def _columns(points: Sequence[tuple[str, Figure, Figure]]) -> tuple[list[Figure], list[Figure]]:
    return [x for _, x, _ in points], [y for _, _, y in points]


def _course(evidence: Evidence, name: str, metric: str, label: str, mark: str, style: int) -> Series:
    """The mean over seeds, with whiskers from the lowest seed to the highest."""
    by_step = _by_step(evidence, name, metric)
    return Series(
        label,
        mark,
        style,
        tuple(_means(evidence, name, metric)),
        tuple((step, Interval(min(values), max(values))) for step, values in by_step.items()),
        strong=True,
    )


def _means(evidence: Evidence, name: str, metric: str) -> list[tuple[int, float]]:
    return [(step, sum(values) / len(values)) for step, values in _by_step(evidence, name, metric).items()]


def _by_step(evidence: Evidence, name: str, metric: str) -> dict[int, list[float]]:
    found: dict[int, list[float]] = {}
    for trained in evidence.trained[name].values():
        for step, value in trained.course(metric):
            found.setdefault(step, []).append(value)
    return dict(sorted(found.items()))


def _extent(one: Series) -> list[float]:
    return [value for _, value in one.points] + [end for _, interval in one.intervals for end in interval]
