"""The preview as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from orpo.pages.page import render
from orpo.preview.signs import GLYPHS, SIGNS, WORDS, lines_of
from orpo.preview.table import heading, summary, title
from orpo.preview.terms import Terms
from orpo.preview.view import Preview

_CLASSES = {Terms.NONE: "context", Terms.NLL: "nll", Terms.PREFERENCE: "preference", Terms.BOTH: "both"}


def as_page(preview: Preview) -> str:
    """The page; whatever comes from the data is escaped, and none of it can run."""
    return render(
        "preview/page.html.jinja",
        {
            "preview": preview,
            "summary": summary(preview),
            "kinds": [(_CLASSES[terms], SIGNS[terms], WORDS[terms]) for terms in SIGNS],
            "classes": _CLASSES,
            "signs": SIGNS,
            "glyphs": GLYPHS,
        },
        {"lines": lines_of, "heading": heading, "title": title},
    )
