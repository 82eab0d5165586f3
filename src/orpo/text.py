"""Text for a terminal, where data and model output are hostile until proven harmless."""

from __future__ import annotations

import re
import unicodedata

_NAMED = {"\n": "↵", "\t": "→", "\r": "␍"}
_MARKS = re.compile(r"[\\`|\[\]*~$]|(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])")
"""Of code, cells, links, emphasis and formulas; an underscore within a word is none."""

_UNSAFE = ("Cc", "Cf", "Cs", "Zl", "Zp")
"""Categories of Unicode: control and format characters, halves of surrogate pairs, breaks of lines."""


def printable(text: str, limit: int | None = None) -> str:
    """One line of `text` without control characters, escape sequences or text-direction overrides.

    Args:
        text: anything, such as a model's output.
        limit: most characters to keep; the cut is marked with an ellipsis.
    """
    safe = "".join(_visible(character) for character in text)
    return safe if limit is None or len(safe) <= limit else safe[: limit - 1] + "…"


def _visible(character: str) -> str:
    if character in _NAMED:
        return _NAMED[character]
    return "�" if unicodedata.category(character) in _UNSAFE else character


def markdown(value: object) -> str:
    """A value as one line of Markdown that is text and nothing else, in a table's cell too."""
    text = printable(str(value)).replace("&", "&amp;").replace("<", "&lt;")
    return _MARKS.sub(r"\\\g<0>", text)


def duration(seconds: float) -> str:
    """Seconds as people say them: `9.4 s`, `3 min 20 s`, `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"
