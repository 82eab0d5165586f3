"""Which languages chosen and single responses are in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache

from py3langid.langid import MODEL_FILE, LanguageIdentifier

from orpo.data.pairs import Pair, Single, responses_of
from orpo.doctor.findings import Example, Problem, Severity, example

OTHER = Problem(
    "other_languages",
    Severity.NOTE,
    "a chosen or single response is in another language than most",
    "Check that it is meant to be there, and that the model knows the language.",
)

UNDETERMINED = "und"
"""ISO 639's code for texts that do not tell."""

_NO_LANGUAGE = "zxx"

_FEWEST_LETTER_BYTES = 40
"""In UTF-8, so that fewer letters are enough in scripts whose letters say more."""

_MOST_CHARACTERS = 400
"""More text says no more, and takes longer."""

_SURE = 0.9


def language(text: str) -> str:
    """The code (ISO 639-1) of a text's language; `und` for short or mixed texts, code, and the like."""
    head = text[:_MOST_CHARACTERS]
    letters = "".join(filter(str.isalpha, head))
    if len(letters.encode()) < _FEWEST_LETTER_BYTES:
        return UNDETERMINED
    code, _ = _identifier().classify(head)
    return UNDETERMINED if code == _NO_LANGUAGE else str(code)


def count_languages(codes: Sequence[str]) -> dict[str, int]:
    """How often each language is there, the most frequent first."""
    return dict(Counter(codes).most_common())


def languages_of(items: Sequence[Pair | Single]) -> list[str]:
    """The languages of chosen and single responses."""
    return [language(responses_of(item)[0]) for item in items]


def other_languages(items: Sequence[Pair | Single], codes: Sequence[str]) -> list[Example]:
    """Examples whose language is known, and is not the most frequent one."""
    known = Counter(code for code in codes if code != UNDETERMINED)
    usual = {code for code, _ in known.most_common(1)} | {UNDETERMINED}
    return [
        example(item.where, f"{code}: {responses_of(item)[0]}")
        for item, code in zip(items, codes, strict=True)
        if code not in usual
    ]


@cache
def _identifier() -> LanguageIdentifier:
    """The bundled naive Bayes model over byte n-grams (Lui and Baldwin 2012)."""
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True, min_confidence=_SURE)
