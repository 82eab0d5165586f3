"""The preview as one HTML page that needs nothing else: no script, no network."""

from __future__ import annotations

from importlib.resources import files

from jinja2 import Environment, StrictUndefined

from orpo.preview.signs import GLYPHS, SIGNS, WORDS, lines_of
from orpo.preview.table import heading, summary, title
from orpo.preview.terms import Terms
from orpo.preview.view import Preview
from orpo.text import printable

_CLASSES = {Terms.NONE: "context", Terms.NLL: "nll", Terms.PREFERENCE: "preference", Terms.BOTH: "both"}


def as_page(preview: Preview) -> str:
    """The page; whatever comes from the data is escaped, and none of it can run."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {"printable": printable, "lines": lines_of, "heading": heading, "title": title}
    source = (files("orpo.preview") / "page.html.jinja").read_text(encoding="utf-8")
    return environment.from_string(source).render(
        preview=preview,
        summary=summary(preview),
        kinds=[(_CLASSES[terms], SIGNS[terms], WORDS[terms]) for terms in SIGNS],
        classes=_CLASSES,
        signs=SIGNS,
        glyphs=GLYPHS,
    )
