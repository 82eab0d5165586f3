"""Tokens are spelled as whole characters, with every token accounted for."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import PreTrainedTokenizerBase

from orpo.preview.pieces import Piece, Run, Speller
from orpo.preview.terms import Terms
from orpo.preview.unpack import Token
from tests.tiny import byte_tokenizer
from tests.trap_tokenizers import byte_level, space_prefix

BYTES = byte_tokenizer()


def tokens(ids: Sequence[int], terms: Sequence[Terms] | None = None) -> tuple[Token, ...]:
    given = terms or [Terms.BOTH] * len(ids)
    return tuple(Token(id_, 0, i, i, term) for i, (id_, term) in enumerate(zip(ids, given, strict=True)))


def encode(text: str, tokenizer: PreTrainedTokenizerBase = BYTES) -> list[int]:
    return tokenizer(text, add_special_tokens=False)["input_ids"]


def pieces(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase = BYTES) -> list[Piece]:
    return [piece for run in Speller(tokenizer).runs(tokens(ids)) for piece in run.pieces]


def spelled(ids: Sequence[int], tokenizer: PreTrainedTokenizerBase = BYTES) -> list[tuple[str, int]]:
    """Text and number of tokens of each piece."""
    return [(piece.text, len(piece.tokens)) for piece in pieces(ids, tokenizer)]


def test_bytes_are_taken_together_until_they_spell_characters() -> None:
    assert spelled(encode("aé 🍕.")) == [("a", 1), ("é", 2), (" ", 1), ("🍕", 4), (".", 1)]


def test_a_character_that_is_cut_off_is_shown_as_one_that_cannot_be_read() -> None:
    cut = encode("a🍕")[:-1]
    assert spelled(cut) == [("a", 1), ("\ufffd", 3)]


def test_a_replacement_character_in_the_text_is_a_character() -> None:
    assert spelled(encode("\ufffd\ufffda")) == [("\ufffd", 3), ("\ufffd", 3), ("a", 1)]


def test_special_tokens_are_pieces_of_their_own_even_within_a_character() -> None:
    start, *rest = encode("é")
    eos = BYTES.convert_tokens_to_ids("</s>")
    assert isinstance(eos, int)
    shown = pieces([start, eos, *rest])
    assert [(piece.text, piece.is_special) for piece in shown] == [
        ("\ufffd", False),
        ("</s>", True),
        ("\ufffd", False),
    ]


def test_runs_end_where_the_terms_change_and_what_was_before_does_not_matter() -> None:
    terms = [Terms.NONE, Terms.NONE, Terms.NLL, Terms.NONE]
    runs = Speller(BYTES).runs(tokens(encode("abcd"), terms), before=tokens(encode("xé")))
    assert [(run.terms, "".join(piece.text for piece in run.pieces)) for run in runs] == [
        (Terms.NONE, "ab"),
        (Terms.NLL, "c"),
        (Terms.NONE, "d"),
    ]


def test_nothing_has_no_runs() -> None:
    assert Speller(BYTES).runs(()) == ()


def test_blanks_of_a_sentencepiece_vocabulary_are_not_lost_at_the_start_of_a_segment() -> None:
    tokenizer = space_prefix()
    prompt, response = encode("the dog", tokenizer), encode("the answer", tokenizer)
    (run,) = Speller(tokenizer).runs(tokens(response), before=tokens(prompt))
    assert isinstance(run, Run)
    assert "".join(piece.text for piece in run.pieces) == " the answer"


def test_a_token_that_spells_nothing_is_shown_by_its_name() -> None:
    tokenizer = space_prefix()
    assert spelled([tokenizer.convert_tokens_to_ids("▁")], tokenizer) == [("▁", 1)]  # type: ignore[list-item]


@pytest.mark.parametrize("tokenizer", [BYTES, byte_level()], ids=["bytes", "byte-level BPE"])
@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(codec="utf-8"), max_size=20))
def test_pieces_spell_the_text_and_hold_every_token_once(
    tokenizer: PreTrainedTokenizerBase, text: str
) -> None:
    ids = encode(text, tokenizer)
    shown = pieces(ids, tokenizer)
    assert "".join(piece.text for piece in shown) == text
    assert [token.id for piece in shown for token in piece.tokens] == ids
