"""Pictures as inline SVG: no script, no fonts, no network; colours come from the page that holds them.

Nothing here is made from the data's text: labels are our own words and numbers.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise
from math import log10

from orpo.doctor.lengths import Lengths
from orpo.doctor.rates import Rate
from orpo.doctor.truncation import Cut

WIDTH = 640
_LEFT, _RIGHT, _TOP = 60, 20, 30
_PLOT_HEIGHT = 170
_ROW = 34
_LABELS = 250
_VALUES = 190


def histogram(lengths: Sequence[Lengths]) -> str:
    """The distributions of several segments over one logarithmic axis of lengths."""
    edges = lengths[0].edges
    longest, most = edges[-1], max(max(segment.counts) for segment in lengths)
    bottom = _TOP + _PLOT_HEIGHT

    def across(length: float) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * log10(length) / log10(longest)

    def up(count: float) -> float:
        return bottom - _PLOT_HEIGHT * count / most

    parts = [
        _line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis"),
        _line(_LEFT, _TOP, WIDTH - _RIGHT, _TOP, "grid"),
        _text(_LEFT - 6, bottom + 4, "0", "end"),
        _text(_LEFT - 6, _TOP + 4, f"{most:,}", "end"),
    ]
    for tick in _ticks(longest):
        parts += [
            _line(across(tick), bottom, across(tick), bottom + 4, "axis"),
            _text(across(tick), bottom + 18, f"{tick:,}", "middle"),
        ]
    parts.append(_text(WIDTH - _RIGHT, bottom + 36, f"{lengths[0].unit}, logarithmic", "end"))
    for i, segment in enumerate(lengths):
        points = [(edges[0], 0)]
        for (left, right), count in zip(pairwise(edges), segment.counts, strict=True):
            points += [(left, count), (right, count)]
        points.append((edges[-1], 0))
        outline = " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in points)
        parts.append(f'<polyline class="series {segment.segment}" points="{outline}"/>')
        legend = _LEFT + 110 * i
        parts += [
            _line(legend, 10, legend + 24, 10, f"series {segment.segment}"),
            _text(legend + 30, 14, segment.segment, "start"),
        ]
    return _svg(bottom + 44, "Lengths of prompts and responses; vertical: examples", parts)


def rates(rows: Sequence[tuple[str, Rate]]) -> str:
    """Shares as points with their 95 % intervals, beside the half that chance would give."""
    right = WIDTH - _VALUES
    bottom = _TOP + _ROW * len(rows)

    def across(share: float) -> float:
        return _LABELS + (right - _LABELS) * share

    parts = [
        _line(_LABELS, bottom, right, bottom, "axis"),
        _line(across(0.5), _TOP, across(0.5), bottom, "chance"),
    ]
    parts += [_text(across(share), bottom + 18, f"{share:.0%}", "middle") for share in (0, 0.5, 1)]
    parts.append(_text(across(0.5), _TOP - 10, "chance", "middle"))
    for i, (label, rate) in enumerate(rows):
        middle = _TOP + _ROW * (i + 0.5)
        low, high = rate.interval
        parts += [
            _text(_LABELS - 14, middle + 4, label, "end"),
            _line(across(low), middle, across(high), middle, "interval"),
            f'<circle class="point" cx="{across(rate.value):.1f}" cy="{middle:.1f}" r="5"/>',
            _text(right + 14, middle + 4, f"{rate.value:.1%} ({low:.1%} to {high:.1%})", "start"),
        ]
    return _svg(bottom + 26, "How well length and words predict the label, with 95 % intervals", parts)


def cuts(rows: Sequence[Cut], examples: int) -> str:
    """What each `max_length` would do, as shares of the examples."""
    left, right = 110, WIDTH - _VALUES
    parts: list[str] = []
    for i, cut in enumerate(rows):
        top = _TOP + _ROW * i
        width = (right - left) * cut.cut / examples
        rest = (right - left) * cut.emptied / examples
        parts += [
            _text(left - 12, top + 17, f"{cut.max_length:,}", "end"),
            _bar(left, top, right - left, "track"),
            _bar(left, top, rest, "emptied"),
            _bar(left + rest, top, width, "cut"),
            _text(
                right + 14,
                top + 17,
                f"{cut.cut / examples:.1%} cut, {cut.emptied / examples:.1%} emptied",
                "start",
            ),
        ]
    parts.append(_text(left - 12, 16, "max_length", "end"))
    return _svg(_TOP + _ROW * len(rows), "Examples that each max_length would cut or empty", parts)


def _ticks(longest: float) -> Iterator[int]:
    tick = 1
    while tick <= longest:
        yield tick
        tick *= 10


def _bar(x: float, y: float, width: float, kind: str) -> str:
    return f'<rect class="{kind}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{_ROW - 10}"/>'


def _line(x1: float, y1: float, x2: float, y2: float, kind: str) -> str:
    return f'<line class="{kind}" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{text}</text>'


def _svg(height: float, title: str, parts: Sequence[str]) -> str:
    return (
        f'<svg viewBox="0 0 {WIDTH} {height:.0f}" role="img" aria-label="{title}">'
        f"<title>{title}</title>{''.join(parts)}</svg>"
    )
