"""What a `max_length` does to pairs of known lengths."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orpo.data.pairs import TokenizedPair
from orpo.doctor.findings import Example, Problem, Severity, example
from orpo.doctor.lengths import PairLengths

CUT = Problem(
    "cut_by_max_length",
    Severity.WARNING,
    "a response is cut, and loses its end-of-turn, at max_length",
    "Raise max_length to the length that the table shows, or set `data.truncation: drop`: a response without "
    "its end teaches a model not to stop.",
)
EMPTIED = Problem(
    "emptied_by_max_length",
    Severity.WARNING,
    "nothing to compare is left at max_length: the prompt fills it, or the responses become identical",
    "Raise max_length, or shorten the prompts; these pairs are dropped.",
)

_SHORTEST = 128


@dataclass(frozen=True)
class Cut:
    """What one `max_length` would do."""

    max_length: int
    cut: int
    """Examples of which a response loses its end."""

    emptied: int
    """Examples whose prompt leaves no room for a response."""

    lost: float
    """Share of all response tokens that would not be seen."""


def cuts(lengths: PairLengths, chosen: int) -> tuple[Cut, ...]:
    """What powers of two up to the longest example, and the chosen `max_length`, would do.

    Args:
        lengths: (N, 3) tokens of prompt, chosen and rejected response of at least one example.
        chosen: the `max_length` in question.
    """
    longest = int((lengths[:, 0] + lengths[:, 1:].max(axis=1)).max())
    sizes = {chosen, _SHORTEST}
    size = _SHORTEST
    while size < longest:
        size *= 2
        sizes.add(size)
    return tuple(cut_at(lengths, size) for size in sorted(sizes))


def cut_at(lengths: PairLengths, max_length: int) -> Cut:
    """What one `max_length` would do to examples of these lengths."""
    room = (max_length - lengths[:, 0]).clip(0)
    responses = lengths[:, 1:]
    seen = responses.clip(max=room[:, None])
    emptied = room == 0
    cut = (seen < responses).any(axis=1) & ~emptied
    return Cut(
        max_length,
        cut=int(cut.sum()),
        emptied=int(emptied.sum()),
        lost=1 - float(seen.sum() / responses.sum()),
    )


def is_emptied(pair: TokenizedPair, max_length: int) -> bool:
    """Whether nothing to compare, or to imitate, is left of a pair."""
    room = max(0, max_length - len(pair.prompt))
    return pair.chosen[:room] == pair.rejected[:room]


def is_cut(pair: TokenizedPair, max_length: int) -> bool:
    """Whether a response of a pair does not fit, and something is left of it."""
    longer = max(len(pair.chosen), len(pair.rejected))
    return len(pair.prompt) + longer > max_length and not is_emptied(pair, max_length)


def emptied_by_truncation(pairs: Sequence[TokenizedPair], max_length: int) -> list[Example]:
    """Pairs of which nothing to compare is left."""
    return [example(pair.where, _sizes(pair)) for pair in pairs if is_emptied(pair, max_length)]


def cut_by_truncation(pairs: Sequence[TokenizedPair], max_length: int) -> list[Example]:
    """Pairs of which a response is cut."""
    return [example(pair.where, _sizes(pair)) for pair in pairs if is_cut(pair, max_length)]


def _sizes(pair: TokenizedPair) -> str:
    return f"tokens: prompt {len(pair.prompt)}, chosen {len(pair.chosen)}, rejected {len(pair.rejected)}"
