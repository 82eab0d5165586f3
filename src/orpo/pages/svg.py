"""Pictures as inline SVG: no script, no fonts, no network; colours come from the page that holds them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from markupsafe import Markup

Point = tuple[float, float]


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    """A straight line; `kind` is its class."""
    return Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>').format(
        kind, x1, y1, x2, y2
    )


def polyline(points: Iterable[Point], kind: str) -> Markup:
    """Lines from point to point."""
    return Markup('<polyline class="{}" points="{}"/>').format(
        kind, " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
    )


def circle(x: float, y: float, radius: float, kind: str) -> Markup:
    """A dot."""
    return Markup('<circle class="{}" cx="{:.1f}" cy="{:.1f}" r="{:g}"/>').format(kind, x, y, radius)


def bar(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    """A filled rectangle."""
    return Markup('<rect class="{}" x="{:.1f}" y="{:.1f}" width="{:.1f}" height="{:g}"/>').format(
        kind, x, y, width, height
    )


def text(x: float, y: float, words: str, anchor: str) -> Markup:
    """Words that start, end or have their middle at a point."""
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, words)


def picture(width: float, height: float, title: str, parts: Sequence[Markup]) -> Markup:
    """All parts as one image with a title, which is what is read out."""
    head = Markup('<svg viewBox="0 0 {:.0f} {:.0f}" role="img" aria-label="{}"><title>{}</title>').format(
        width, height, title, title
    )
    return head + Markup("").join(parts) + Markup("</svg>")
