"""Texts of models and data on pages: line breaks are seen, what is long is folded, and nothing is obeyed."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup, escape

from orpo.text import printable

LINES, CHARACTERS = 12, 800
"""Of a text that are seen before it is unfolded."""

WORTH_FOLDING = 200
"""Characters: fewer than these are not folded away."""

_LONGEST_WORD = 40

MOST = 20_000
"""Characters of a text that a page holds."""

_BREAK = Markup('<span class="break">↵</span>\n')


@dataclass(frozen=True)
class Folded:
    """A text in two parts, as markup."""

    head: Markup
    rest: Markup
    """What is folded away; empty of a short text."""

    hidden: int
    """Characters of the rest."""

    left_out: int
    """Characters that the page does not hold."""


def folded(text: str) -> Folded:
    """A text for a page: what a browser would take for markup is escaped, control characters are replaced."""
    kept = text[:MOST]
    at = _fold(kept)
    return Folded(_lines(kept[:at]), _lines(kept[at:]), len(kept) - at, len(text) - len(kept))


def _fold(text: str) -> int:
    """Where the first part ends: at the end of a line if there are many, else of a word."""
    end = -1
    for _ in range(LINES):
        end = text.find("\n", end + 1)
        if end < 0:
            break
    many_lines = 0 <= end < CHARACTERS
    at = end + 1 if many_lines else _end_of_word(text, CHARACTERS)
    is_worth = len(text) - at > WORTH_FOLDING or (many_lines and text.count("\n", at) > LINES // 2)
    return at if is_worth else len(text)


def _end_of_word(text: str, at: int) -> int:
    """A place before `at`, but not long before, that does not cut a word; `at` if there is none."""
    space = text.rfind(" ", at - _LONGEST_WORD, at)
    return space + 1 if space >= 0 else at


def _lines(text: str) -> Markup:
    return _BREAK.join(escape(printable(line)) for line in text.split("\n"))
