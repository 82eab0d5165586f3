"""Characters that should not be in text: wrongly decoded, invisible, or written by a chat template."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from ftfy import fix_encoding

from orpo.data.pairs import Pair, Single
from orpo.doctor.findings import Example, Problem, Severity, example
from orpo.doctor.words import texts

MOJIBAKE = Problem(
    "mojibake",
    Severity.WARNING,
    "text was decoded with the wrong encoding",
    "Read the source again as UTF-8, or repair the text (`ftfy.fix_encoding`); lost characters "
    "(U+FFFD) cannot be repaired.",
)
CONTROL = Problem(
    "control_characters",
    Severity.WARNING,
    "control, direction or zero-width characters are in the text",
    "Remove them: the model learns to write them, and terminals and pages obey them.",
)
MARKUP = Problem(
    "template_tokens_in_text",
    Severity.WARNING,
    "tokens of a chat template are in the text",
    "The template writes its own, so these would be there twice (BOS, end-of-turn). Remove them, or "
    "split the text into messages.",
)

_LOST = "\ufffd"
# C0 and C1 without tab and line ends; zero-width space and BOM; direction overrides and isolates.
_CONTROL = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\ufeff\u202a-\u202e\u2066-\u2069]")
_MARKUP = re.compile(
    r"<\|[a-z][a-z_]*\|>|<(?:start|end)_of_turn>|<<SYS>>|\[/?INST\]|<｜[^｜]{1,40}｜>|\A\s*<s>|</s>\s*\Z"
)
_AROUND = 30

Evidence = Callable[[str], str | None]
"""What is wrong with a text, in context; None if nothing is."""


def mojibake(items: Sequence[Pair | Single]) -> list[Example]:
    """Examples with text such as `cafÃ©`, or with characters lost in decoding."""
    return _hits(items, mojibake_in)


def control_characters(items: Sequence[Pair | Single]) -> list[Example]:
    """Examples with characters that show nothing and do something."""
    return _hits(items, control_in)


def template_tokens(items: Sequence[Pair | Single]) -> list[Example]:
    """Examples whose text has tokens of the usual chat templates."""
    return _hits(items, markup_in)


def mojibake_in(text: str) -> str | None:
    """The wrongly decoded part of a text and its repair."""
    if text.isascii():
        return None
    lost = text.find(_LOST)
    if lost >= 0:
        return f"character lost: {_context(text, lost)}"
    repaired = fix_encoding(text)
    if repaired == text:
        return None
    at = next(
        (i for i, (old, new) in enumerate(zip(text, repaired, strict=False)) if old != new), len(repaired)
    )
    return f"{_context(text, at)} | repaired: {_context(repaired, at)}"


def control_in(text: str) -> str | None:
    """The first control character of a text, by name."""
    match = _CONTROL.search(text)
    return None if match is None else f"U+{ord(match[0]):04X}: {_context(text, match.start())}"


def markup_in(text: str) -> str | None:
    """The first token of a chat template in a text."""
    match = _MARKUP.search(text)
    return None if match is None else f"{match[0].strip()}: {_context(text, match.start())}"


def _hits(items: Sequence[Pair | Single], evidence: Evidence) -> list[Example]:
    found = ((item, next(filter(None, map(evidence, texts(item))), None)) for item in items)
    return [example(item.where, what) for item, what in found if what is not None]


def _context(text: str, at: int) -> str:
    return text[max(0, at - _AROUND) : at + _AROUND]
