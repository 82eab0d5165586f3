"""How tokens and the terms they are in are shown: signs that need no colour, the same in every output."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from orpo.preview.pieces import Piece
from orpo.preview.terms import Terms
from orpo.preview.view import Segment
from orpo.text import printable

SIGNS: Mapping[Terms, str] = {Terms.NONE: "  ", Terms.NLL: "N ", Terms.PREFERENCE: " P", Terms.BOTH: "NP"}
"""What stands in the margin beside tokens that are in these terms."""

WORDS: Mapping[Terms, str] = {
    Terms.NONE: "in no term of the loss",
    Terms.NLL: "in the NLL",
    Terms.PREFERENCE: "in the preference term",
    Terms.BOTH: "in the NLL and the preference term",
}

SPACE = "·"

GLYPHS = (
    f"{SPACE} space",
    f"{printable(chr(10))} line break",
    "⟨text id⟩ special",
    "é₂ of two tokens",
)

_SUBSCRIPT = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_BASE = "◌"
"""Carries accents and vowel signs of which the letter is in the token before."""


def lines_of(piece: Piece) -> list[str]:
    """A piece as something that no terminal and no page obeys, with a line break between any two lines."""
    if piece.is_special:
        return [f"⟨{printable(piece.text)} {piece.tokens[0].id}⟩"]
    *broken, last = piece.text.split("\n")
    first, *others = [*(printable(line + "\n") for line in broken), printable(last)]
    if unicodedata.category(first[0]).startswith("M"):
        first = _BASE + first
    if len(piece.tokens) > 1:
        first += str(len(piece.tokens)).translate(_SUBSCRIPT)
    return [line.replace(" ", SPACE) for line in (first, *others)]


def account(segment: Segment) -> str:
    """How many tokens, and in which terms: `9 tokens (5 in no term of the loss, 4 in the NLL)`."""
    counts = segment.counts
    tokens = f"{counts.total()} token{'' if counts.total() == 1 else 's'}"
    if len(counts) == 1:
        return f"{tokens} {WORDS[next(iter(counts))]}"
    return f"{tokens} ({', '.join(f'{counts[terms]} {WORDS[terms]}' for terms in SIGNS if counts[terms])})"
