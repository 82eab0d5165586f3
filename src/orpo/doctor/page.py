"""The report as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from orpo.doctor import charts
from orpo.doctor.rates import Rate
from orpo.doctor.report import Part, Report
from orpo.doctor.table import contents, percent, responses_named, summary
from orpo.text import printable


def as_page(report: Report) -> str:
    """The page; whatever comes from the data is escaped, and none of it can run."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "printable": printable,
        "percent": percent,
        "contents": contents,
        "responses_named": responses_named,
    }
    source = (files("orpo.doctor") / "page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        report=report,
        summary=summary(report),
        pictures={part.use: _pictures(part) for part in report.parts},
    )


def _pictures(part: Part) -> dict[str, Markup]:
    """The charts of a part by name; they hold numbers and our own words only."""
    pictures = {"lengths": charts.histogram(part.lengths)}
    if part.pairs:
        pictures["rates"] = charts.rates(_shares(part))
    if part.cuts:
        pictures["cuts"] = charts.cuts(part.cuts, part.examples)
    return {name: Markup(svg) for name, svg in pictures.items()}


def _shares(part: Part) -> list[tuple[str, Rate]]:
    """How well length and words tell the label."""
    shares = [("the longer response is chosen", part.length_bias)]
    if part.signal is not None:
        shares += [
            ("words tell the chosen one", part.signal.words),
            ("… at about equal length", part.signal.words_at_equal_length),
        ]
    return shares
