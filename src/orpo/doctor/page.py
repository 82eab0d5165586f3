"""The report as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from markupsafe import Markup

from orpo.doctor import charts
from orpo.doctor.report import Part, Report
from orpo.doctor.table import advice, contents, percent, responses_named, summary
from orpo.pages.page import render
from orpo.statistics.rates import Rate


def as_page(report: Report) -> str:
    """The page; whatever comes from the data is escaped, and none of it can run."""
    return render(
        "doctor/page.html.jinja",
        {
            "report": report,
            "summary": summary(report),
            "pictures": {part.use: _pictures(part) for part in report.parts},
        },
        {
            "percent": percent,
            "advice": advice,
            "contents": contents,
            "responses_named": responses_named,
        },
    )


def _pictures(part: Part) -> dict[str, Markup]:
    """The charts of a part by name."""
    pictures = {"lengths": charts.histogram(part.lengths)}
    if part.pairs:
        pictures["rates"] = charts.rates(_shares(part))
    if part.cuts:
        pictures["cuts"] = charts.cuts(part.cuts, part.examples)
    return pictures


def _shares(part: Part) -> list[tuple[str, Rate]]:
    """How well length and words tell the label."""
    shares = [("the longer response is chosen", part.length_bias)]
    if part.signal is not None:
        shares += [
            ("words tell the chosen one", part.signal.words),
            ("… at about equal length", part.signal.words_at_equal_length),
        ]
    return shares
