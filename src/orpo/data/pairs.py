"""Preference pairs as nouns: as text, as tokens before they are batches, and the account of their rows."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Message:
    """One turn of a conversation."""

    role: str
    """`system`, `user` or `assistant`."""

    content: str


Prompt = str | tuple[Message, ...]
"""Plain text, or the turns before the response (system turn included)."""


@dataclass(frozen=True)
class Pair:
    """One (prompt, chosen, rejected)."""

    prompt: Prompt
    """What both responses answer."""

    chosen: str
    """Text of the chosen response: continuation of a text prompt, or content of the last assistant turn."""

    rejected: str
    """Text of the rejected response."""

    where: str
    """Origin for messages to people, such as `train.jsonl:17`."""

    weight: float = 1.0
    """How much it counts in every mean, above 0."""

    margin: float = 0.0
    """How much better the chosen response is, in a reward model's values."""


@dataclass(frozen=True)
class Single:
    """One response without a counterpart."""

    prompt: Prompt
    response: str

    is_desirable: bool
    """True of a response to imitate: a demonstration, or one that people liked."""

    where: str
    """See `Pair`."""

    weight: float = 1.0
    """See `Pair`."""


Example = Pair | Single
"""What a row of data becomes."""


def responses_of(example: Example) -> tuple[str, ...]:
    """The texts of its responses: chosen and rejected, or the only one."""
    return (example.chosen, example.rejected) if isinstance(example, Pair) else (example.response,)


Span = tuple[int, int]
"""Start and end in a sequence, the end not included."""


@dataclass(frozen=True)
class TokenizedPair:
    """Token ids of one pair; each branch is prompt + response.

    A pair made of a single response has its ids as `chosen` if it is desirable, else as `rejected`, and
    nothing in the other place.
    """

    prompt: tuple[int, ...]
    chosen: tuple[int, ...]
    rejected: tuple[int, ...]
    where: str
    weight: float = 1.0

    margin: float = 0.0
    """See `Pair`; 0 of a single response."""

    answers: tuple[Span, ...] = ()
    """The assistant's earlier turns in the prompt, each with the token that ends it; only where asked for."""

    reference: tuple[float, float] | None = None
    """Log-probabilities of chosen and rejected response under a reference model, if there is one; 0 of a
    response that is missing."""


EMPTY_RESPONSE = "empty response"
INVALID_UNICODE = "text that is not valid Unicode"


def is_unicode(text: str) -> bool:
    """False for lone surrogates, which JSON can escape and no text file or tokenizer can hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


class UnusableRowError(Exception):
    """A row that makes no pair; its reason is counted."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass
class RowCounts:
    """What became of every row: kept, or dropped with a reason."""

    read: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter[str])
    """Rows by reason, such as `identical responses`."""

    examples: dict[str, str] = field(default_factory=dict[str, str])
    """The first dropped row of each reason, as `file:line`."""

    notes: Counter[str] = field(default_factory=Counter[str])
    """Rows that were kept but changed, by what was done, such as `response cut at max_length`."""

    def drop(self, reason: str, where: str) -> None:
        """Count one row as dropped."""
        self.dropped[reason] += 1
        self.examples.setdefault(reason, where)

    def include(self, other: RowCounts) -> None:
        """Add the counts of another source."""
        self.read += other.read
        self.kept += other.kept
        self.dropped += other.dropped
        self.notes += other.notes
        self.examples = {**other.examples, **self.examples}
