"""How tokens and the terms they are in are shown: signs that need no colour, the same in every output."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from orpo.preview.pieces import Piece
from orpo.preview.terms import Terms
from orpo.preview.view import Segment
from orpo.text import printable

SIGNS: Mapping[Terms, str] = {Terms.NONE: "  ", Terms.NLL: "N ", Terms.LOG_ODDS: " L", Terms.BOTH: "NL"}
"""What stands in the margin beside tokens that are in these terms."""

WORDS: Mapping[Terms, str] = {
    Terms.NONE: "context: in no term of the loss",
    Terms.NLL: "in the NLL",
    Terms.LOG_ODDS: "in the log odds",
    Terms.BOTH: "in the NLL and the log odds",
}

BOUNDARY = "╎"
"""Stands between two tokens."""

SPACE = "·"

LEGEND = (
    f"{BOUNDARY} between tokens   {SPACE} space   {printable(chr(10))} line break   ⟨text id⟩ special token   "
    "é₂ two tokens that spell one character"
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
    """How many tokens a segment has, and in which terms: `23 tokens: 19 context, 4 in the NLL`."""
    counts = segment.counts
    words = WORDS | {Terms.NONE: "context"}
    parts = [f"{counts[terms]} {words[terms]}" for terms in SIGNS if counts[terms]]
    total = counts.total()
    tokens = f"{total} token" if total == 1 else f"{total} tokens"
    return f"{tokens}: {', '.join(parts)}"
