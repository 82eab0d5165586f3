"""Pictures of a diagnosis, made of our own words and numbers, and of none of the data's text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log10

from markupsafe import Markup

from orpo.doctor.lengths import Lengths
from orpo.doctor.truncation import Cut
from orpo.pages import svg
from orpo.statistics.rates import Rate

WIDTH = 640
_LEFT, _RIGHT, _TOP = 60, 20, 30
_PLOT_HEIGHT = 170
_ROW = 34
_LABELS = 250
_VALUES = 190


def histogram(lengths: Sequence[Lengths]) -> Markup:
    """The distributions of several segments over one logarithmic axis of lengths."""
    edges = lengths[0].edges
    longest, most = edges[-1], max(max(segment.counts) for segment in lengths)
    bottom = _TOP + _PLOT_HEIGHT

    def across(length: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * log10(length) / log10(longest)

    def up(count: float) -> float:
        return bottom - _PLOT_HEIGHT * count / most

    parts = [
        svg.line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis"),
        svg.line(_LEFT, _TOP, WIDTH - _RIGHT, _TOP, "grid"),
        svg.text(_LEFT - 6, bottom + 4, "0", "end"),
        svg.text(_LEFT - 6, _TOP + 4, f"{most:,}", "end"),
    ]
    for tick in _ticks(longest):
        parts += [
            svg.line(across(tick), bottom, across(tick), bottom + 4, "axis"),
            svg.text(across(tick), bottom + 18, f"{tick:,}", "middle"),
        ]
    parts.append(svg.text(WIDTH - _RIGHT, bottom + 36, f"{lengths[0].unit}, logarithmic", "end"))
    for i, segment in enumerate(lengths):
        points = [(edges[0], 0)]
        for (left, right), count in zip(pairwise(edges), segment.counts, strict=True):
            points += [(left, count), (right, count)]
        points.append((edges[-1], 0))
        outline = [(across(x), up(y)) for x, y in points]
        parts.append(svg.polyline(outline, f"series {segment.segment}"))
        legend = _LEFT + 110 * i
        parts += [
            svg.line(legend, 10, legend + 24, 10, f"series {segment.segment}"),
            svg.text(legend + 30, 14, segment.segment, "start"),
        ]
    return svg.picture(WIDTH, bottom + 44, "Lengths of prompts and responses; vertical: examples", parts)


def rates(rows: Sequence[tuple[str, Rate]]) -> Markup:
    """Shares as points with their 95 % intervals, beside the half that chance would give."""
    right = WIDTH - _VALUES
    bottom = _TOP + _ROW * len(rows)

    def across(share: float) -> float:
        return _LABELS + (right - _LABELS) * share

    parts = [
        svg.line(_LABELS, bottom, right, bottom, "axis"),
        svg.line(across(0.5), _TOP, across(0.5), bottom, "chance"),
    ]
    parts += [svg.text(across(share), bottom + 18, f"{share:.0%}", "middle") for share in (0, 0.5, 1)]
    parts.append(svg.text(across(0.5), _TOP - 10, "chance", "middle"))
    for i, (label, rate) in enumerate(rows):
        middle = _TOP + _ROW * (i + 0.5)
        low, high = rate.interval
        parts += [
            svg.text(_LABELS - 14, middle + 4, label, "end"),
            svg.line(across(low), middle, across(high), middle, "interval"),
            svg.circle(across(rate.value), middle, 5, "point"),
            svg.text(right + 14, middle + 4, f"{rate.value:.1%} ({low:.1%} to {high:.1%})", "start"),
        ]
    return svg.picture(
        WIDTH, bottom + 26, "How well length and words predict the label, with 95 % intervals", parts
    )


def cuts(rows: Sequence[Cut], examples: int) -> Markup:
    """What each `max_length` would do, as shares of the examples."""
    left, right = 110, WIDTH - _VALUES
    parts: list[Markup] = []
    for i, cut in enumerate(rows):
        top = _TOP + _ROW * i
        width = (right - left) * cut.cut / examples
        rest = (right - left) * cut.emptied / examples
        parts += [
            svg.text(left - 12, top + 17, f"{cut.max_length:,}", "end"),
            svg.bar(left, top, right - left, _ROW - 10, "track"),
            svg.bar(left, top, rest, _ROW - 10, "emptied"),
            svg.bar(left + rest, top, width, _ROW - 10, "cut"),
            svg.text(
                right + 14,
                top + 17,
                f"{cut.cut / examples:.1%} cut, {cut.emptied / examples:.1%} emptied",
                "start",
            ),
        ]
    parts.append(svg.text(left - 12, 16, "max_length", "end"))
    return svg.picture(
        WIDTH, _TOP + _ROW * len(rows), "Examples that each max_length would cut or empty", parts
    )


def _ticks(longest: float) -> Iterator[int]:
    tick = 1
    while tick <= longest:
        yield tick
        tick *= 10
