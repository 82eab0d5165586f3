"""From token ids to text that people can read, without hiding where one token ends and the next begins.

A token may hold a part of a character, so tokens are taken together until they spell whole ones; and what
a token spells may depend on the token before it (SentencePiece's first blank), so it is decoded after it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING

from orpo.data.specials import added_tokens
from orpo.preview.terms import Terms
from orpo.preview.unpack import Token

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

UNDECODABLE = "\N{REPLACEMENT CHARACTER}"
"""What decoders write for bytes that are no character, or only the beginning of one."""


@dataclass(frozen=True)
class Piece:
    """The fewest tokens that spell whole characters: most often one."""

    tokens: tuple[Token, ...]

    text: str
    """Exactly what they spell, harmful characters included."""

    is_special: bool
    """Whether it is a token that no text is made of, such as an end of turn."""


@dataclass(frozen=True)
class Run:
    """Adjacent tokens of a segment that are in the same terms of the loss."""

    terms: Terms
    pieces: tuple[Piece, ...]


class Speller:
    """Spells tokens.

    Args:
        tokenizer: the one that the tokens come from.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self._tokenizer = tokenizer
        self._specials = {i: text for text, i in added_tokens(tokenizer).items()}
        replacement: list[int] = tokenizer(UNDECODABLE, add_special_tokens=False)["input_ids"]
        self._replacement = replacement

    def runs(self, tokens: Sequence[Token], before: Sequence[Token] = ()) -> tuple[Run, ...]:
        """The runs of `tokens`, a segment that comes after `before`."""
        runs: list[Run] = []
        for terms, group in groupby(tokens, key=lambda token: token.terms):
            run = tuple(group)
            runs.append(Run(terms, tuple(self._pieces(run, before))))
            before = run
        return tuple(runs)

    def _pieces(self, tokens: Sequence[Token], before: Sequence[Token]) -> Iterator[Piece]:
        context = [token.id for token in before[-1:]]
        pending: list[Token] = []
        for token in tokens:
            if token.id in self._specials:
                if pending:
                    yield self._piece(pending, context)
                yield Piece((token,), self._specials[token.id], is_special=True)
                context, pending = [token.id], []
                continue
            pending.append(token)
            piece = self._piece(pending, context)
            if not self._is_open(piece):
                yield piece
                context, pending = [token.id for token in pending], []
        if pending:
            yield self._piece(pending, context)

    def _piece(self, tokens: Sequence[Token], context: list[int]) -> Piece:
        ids = [token.id for token in tokens]
        return Piece(tuple(tokens), self._added_text(ids, context) or self._name(ids[0]), is_special=False)

    def _is_open(self, piece: Piece) -> bool:
        """Whether more tokens may be needed to spell its last character."""
        ids = [token.id for token in piece.tokens]
        return piece.text.endswith(UNDECODABLE) and ids[-len(self._replacement) :] != self._replacement

    def _added_text(self, ids: list[int], context: list[int]) -> str:
        """What `ids` add to the text of `context`."""
        before, after = self._decode(context), self._decode(context + ids)
        return after.removeprefix(before) if after.startswith(before) else self._decode(ids)

    def _decode(self, ids: list[int]) -> str:
        text = self._tokenizer.decode(ids, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        assert isinstance(text, str)
        return text

    def _name(self, token: int) -> str:
        """A token's name in the vocabulary, for one that spells nothing."""
        name = self._tokenizer.convert_ids_to_tokens(token)
        return name if isinstance(name, str) and name else f"<{token}>"
