from __future__ import annotations

import pytest

from orpo.preview.pieces import Piece
from orpo.preview.signs import SIGNS, WORDS, account, lines_of
from orpo.preview.terms import Terms
from orpo.preview.unpack import Token
from orpo.preview.view import Segment
from tests.unit.preview.previews import HOSTILE, TRL, Texts, preview_of


def piece(text: str, *, count: int = 1, is_special: bool = False) -> Piece:
    return Piece(tuple(Token(7, 0, i, i, Terms.NONE) for i in range(count)), text, is_special)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("word", ["word"]),
        (" two  words ", ["·two··words·"]),
        ("\n", ["↵", ""]),
        (".\n\n", [".↵", "↵", ""]),
        ("a\nb", ["a↵", "b"]),
        ("\t\r", ["→␍"]),
        ("\u0947", ["◌\u0947"]),
        ("\x1b[2J\u202e\x00", ["�[2J��"]),
    ],
)
def test_what_cannot_be_seen_is_seen(text: str, lines: list[str]) -> None:
    assert lines_of(piece(text)) == lines


def test_the_tokens_of_one_character_are_counted() -> None:
    assert lines_of(piece("é", count=2)) == ["é₂"]
    assert lines_of(piece("x", count=10)) == ["x₁₀"]


def test_special_tokens_have_brackets_and_their_id() -> None:
    assert lines_of(piece("<|im_end|>", is_special=True)) == ["⟨<|im_end|> 7⟩"]
    assert "\x1b" not in lines_of(piece(HOSTILE, is_special=True))[0]


def test_every_combination_of_terms_has_a_sign_and_words_of_its_own() -> None:
    combinations = {Terms.NONE, Terms.NLL, Terms.PREFERENCE, Terms.BOTH}
    assert SIGNS.keys() == WORDS.keys() == combinations
    assert len(set(SIGNS.values())) == len(set(WORDS.values())) == 4
    assert {len(sign) for sign in SIGNS.values()} == {2}


def segments(texts: Texts) -> list[Segment]:
    (example,) = preview_of(texts, objective=TRL).examples
    return list(example.segments)


def test_the_account_names_each_kind_once() -> None:
    prompt, chosen, rejected = segments(Texts("Hi?", "Yes", "No"))
    assert account(prompt) == "3 tokens (1 in no term of the loss, 2 in the NLL)"
    assert account(chosen) == "4 tokens in the NLL and the preference term"
    assert account(rejected) == "3 tokens in the preference term"
    assert account(segments(Texts("H", "", "No"))[1]) == "1 token in the NLL and the preference term"
