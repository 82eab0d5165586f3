"""Curves over steps and the reliability diagram, as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor, log10
from typing import TypeVar

from markupsafe import Markup

from orpo.pages import svg
from orpo.statistics.intervals import Interval

WIDTH, HEIGHT = 420, 250
STYLES = 8
"""Kinds of lines, which differ in colour and in dashes; the page's style sheet has them as s0, s1 …"""

MOST_POINTS = 400
MOST_DOTS = 16
"""Of a curve."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 62, 26, 12, 40
_TICKS = 5
_FLAT, _MARGIN = 1e-4, 0.1
"""Range, as a share of the values, below which a curve is drawn as flat, and the range that it then gets."""

_LETTER = 13
"""Height of a letter at the end of a line."""


_Value = TypeVar("_Value")


@dataclass(frozen=True)
class Series:
    """A curve."""

    label: str
    """For the legend, which is not in the picture."""

    mark: str
    """A letter at its end, or nothing."""

    style: int
    points: tuple[tuple[int, float], ...]
    """Steps and values, at least one; steps never fall."""

    intervals: tuple[tuple[int, Interval], ...] = ()
    """95 % intervals of some of them."""

    strong: bool = False
    """Drawn thick and with dots, before the others."""


@dataclass(frozen=True)
class Axis:
    """A linear scale between its first and its last tick."""

    ticks: tuple[float, ...]
    start: float
    end: float

    def at(self, value: float) -> float:
        """Where a value is in the picture."""
        first, last = self.ticks[0], self.ticks[-1]
        return self.start + (self.end - self.start) * (value - first) / (last - first)


def curves(
    title: str,
    series: Sequence[Series],
    *,
    bounds: tuple[float, float] | None = None,
    chance: float | None = None,
) -> Markup:
    """Several curves over the same steps.

    Args:
        title: what is read out.
        series: at least one.
        bounds: the ends of the vertical axis, if they are not those of the values.
        chance: a value to draw a dotted line at.
    """
    steps = [step for one in series for step, _ in one.points]
    values = [value for one in series for _, value in one.points]
    values += [end for one in series for _, interval in one.intervals for end in interval]
    values += [chance] if chance is not None else []
    low, high = bounds or (min(values), max(values))
    whole_steps = ticks(0, max(*steps, _TICKS - 1))
    across, up, parts = axes(whole_steps, ticks(low, high), "step")
    if chance is not None:
        parts.append(svg.line(_LEFT, up.at(chance), WIDTH - _RIGHT, up.at(chance), "chance"))
    for one in sorted(series, key=lambda one: one.strong):
        parts += _curve(one, across, up)
    parts += _letters(series, across, up)
    return svg.picture(WIDTH, HEIGHT, title, parts)


def reliability(title: str, bins: Sequence[tuple[float, float, Interval]]) -> Markup:
    """How often a judge is right, against how often it expects to be, with 95 % intervals.

    Args:
        title: what is read out.
        bins: mean confidence, from one half on, and the share that was right.
    """
    surest = max(confidence for confidence, _, _ in bins)
    across, up, parts = axes(ticks(0.5, max(surest, 0.6)), ticks(0, 1), "says")
    end = across.ticks[-1]
    parts.append(svg.line(across.at(0.5), up.at(0.5), across.at(end), up.at(min(end, 1)), "chance"))
    for confidence, share, interval in bins:
        x = across.at(confidence)
        parts += [
            _whisker(x, interval, up, "s0"),
            svg.circle(x, up.at(share), 4, "dot s0"),
        ]
    return svg.picture(WIDTH, HEIGHT, title, parts)


def axes(below: Sequence[float], left: Sequence[float], label: str) -> tuple[Axis, Axis, list[Markup]]:
    """The axes of a picture of WIDTH times HEIGHT, and what draws them.

    Args:
        below: ticks of the horizontal axis.
        left: ticks of the vertical one.
        label: of the horizontal one.
    """
    bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
    across, up = Axis(tuple(below), _LEFT, right), Axis(tuple(left), bottom, _TOP)
    parts: list[Markup] = []
    for tick, text in zip(up.ticks, tick_labels(up.ticks), strict=True):
        y = up.at(tick)
        parts += [
            svg.line(_LEFT, y, right, y, "axis" if y == bottom else "grid"),
            svg.text(_LEFT - 6, y + 4, text, "end"),
        ]
    for tick, text in zip(across.ticks, tick_labels(across.ticks), strict=True):
        x = across.at(tick)
        parts += [
            svg.line(x, bottom, x, bottom + 4, "axis"),
            svg.text(x, bottom + 18, text, "middle"),
        ]
    parts.append(svg.text((_LEFT + right) / 2, HEIGHT - 6, label, "middle"))
    return across, up, parts


def ticks(low: float, high: float) -> tuple[float, ...]:
    """Round numbers around a range, at least two and about five."""
    largest = max(abs(low), abs(high))
    if high - low <= _FLAT * largest:
        margin = _MARGIN * largest or 1.0
        low, high = low - margin / 2, high + margin / 2
    rough = (high - low) / (_TICKS - 1)
    power = 10.0 ** floor(log10(rough))
    distance = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * (1 - 1e-9))
    first, last = floor(low / distance + 1e-9), ceil(high / distance - 1e-9)
    return tuple(tick * distance for tick in range(first, max(last, first + 1) + 1))


def thinned(points: Sequence[tuple[int, float]], most: int = MOST_POINTS) -> list[tuple[int, float]]:
    """At most `most` points that show the same: of each stretch the lowest and the highest."""
    if len(points) <= most:
        return list(points)
    stretches = most // 2 - 1  # the ends are kept too
    kept = {0, len(points) - 1}
    for index in range(stretches):
        stretch = range(index * len(points) // stretches, (index + 1) * len(points) // stretches)
        kept |= {min(stretch, key=lambda i: points[i][1]), max(stretch, key=lambda i: points[i][1])}
    return [points[i] for i in sorted(kept)]


def spread(values: Sequence[_Value], most: int) -> list[_Value]:
    """At most `most` of the values, evenly chosen, the first and the last among them."""
    last, number = len(values) - 1, min(len(values), most)
    return [values[i] for i in sorted({round(k * last / max(1, number - 1)) for k in range(number)})]


def tick_labels(values: Sequence[float]) -> list[str]:
    """Ticks as short text, all with as many digits as it takes to tell them apart."""
    largest, distance = max(map(abs, values)), values[1] - values[0]
    if not 1e-3 <= largest < 1e6:
        return [f"{value:.4g}" for value in values]
    decimals = max(0, -floor(log10(distance) + 1e-9))
    return [f"{value:,.{decimals}f}" for value in values]


def _curve(one: Series, across: Axis, up: Axis) -> list[Markup]:
    kind = f"s{one.style % STYLES}"
    points = [(across.at(step), up.at(value)) for step, value in thinned(one.points)]
    parts = [_whisker(across.at(step), interval, up, kind) for step, interval in one.intervals]
    if len(points) > 1:
        parts.append(svg.polyline(points, f"series {kind}" if one.strong else f"series thin {kind}"))
    if one.strong or len(points) == 1:
        parts += [svg.circle(x, y, 3, f"dot {kind}") for x, y in spread(points, MOST_DOTS)]
    return parts


def _whisker(x: float, interval: Interval, up: Axis, kind: str) -> Markup:
    return svg.line(x, up.at(interval.low), x, up.at(interval.high), f"whisker {kind}")


def _letters(series: Sequence[Series], across: Axis, up: Axis) -> list[Markup]:
    """The letters at the ends of the lines, moved apart where they would lie on each other."""
    ends = sorted((up.at(one.points[-1][1]), one.points[-1][0], one.mark) for one in series if one.mark)
    gap = min(_LETTER, (up.start - up.end) / max(1, len(ends)))
    heights = [y for y, _, _ in ends]
    for i in range(1, len(heights)):
        heights[i] = max(heights[i], heights[i - 1] + gap)
    limit = up.start
    for i in reversed(range(len(heights))):
        heights[i] = min(heights[i], limit)
        limit = heights[i] - gap
    return [
        svg.text(across.at(step) + 6, y + 4, mark, "start")
        for y, (_, step, mark) in zip(heights, ends, strict=True)
    ]
