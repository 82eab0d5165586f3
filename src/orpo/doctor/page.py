"""The report as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from orpo.doctor import charts
from orpo.doctor.report import Part, Report
from orpo.doctor.table import percent, summary
from orpo.text import printable


def as_page(report: Report) -> str:
    """The page; whatever comes from the data is escaped, and none of it can run."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"printable": printable, "percent": percent}
    source = (files("orpo.doctor") / "page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        report=report,
        summary=summary(report),
        pictures={part.use: _pictures(part) for part in report.parts},
    )


def _pictures(part: Part) -> dict[str, Markup]:
    """The charts of a part by name; they hold numbers and our own words only."""
    shares = [("the longer response is chosen", part.length_bias)]
    if part.signal is not None:
        shares += [
            ("words tell the chosen one", part.signal.words),
            ("… at about equal length", part.signal.words_at_equal_length),
        ]
    pictures = {"lengths": charts.histogram(part.lengths), "rates": charts.rates(shares)}
    if part.cuts:
        pictures["cuts"] = charts.cuts(part.cuts, part.pairs)
    return {name: Markup(svg) for name, svg in pictures.items()}
