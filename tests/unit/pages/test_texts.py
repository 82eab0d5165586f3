"""A text on a page is whole, whatever it holds, and folded where it is long."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.pages.texts import CHARACTERS, LINES, MOST, folded
from orpo.text import printable

WORDS = "word " * 1000


def test_line_breaks_are_seen() -> None:
    assert folded("a\n\nb\n").head == (
        'a<span class="break">↵</span>\n<span class="break">↵</span>\nb<span class="break">↵</span>\n'
    )


def test_nothing_is_markup_and_nothing_steers() -> None:
    found = folded('<script>alert("1")</script>\x1b[31m\u202e\x00\ta')
    assert found.head == "&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;�[31m��→a"


@pytest.mark.parametrize("text", ["", "short", "x" * CHARACTERS, "x" * (CHARACTERS + 150), "a\n" * LINES])
def test_what_is_short_is_not_folded(text: str) -> None:
    assert (folded(text).rest, folded(text).hidden) == ("", 0)


def test_what_is_long_is_folded_between_words_or_lines() -> None:
    by_words, by_lines = folded(WORDS), folded("line\n" * 40)
    assert by_words.head.endswith("word ")
    assert len(by_words.head) == CHARACTERS
    assert by_lines.head.count("↵") == LINES
    assert len(folded("x" * 5000).head) == CHARACTERS


def test_what_is_very_long_is_left_out_and_counted() -> None:
    found = folded("y" * (MOST + 7))
    assert (len(found.head) + found.hidden, found.left_out) == (MOST, 7)


@given(st.text(st.sampled_from("ab \n<&\x00é"), max_size=3000))
def test_no_character_is_lost(text: str) -> None:
    found = folded(text)
    assert "<" not in str(found.head + found.rest).replace('<span class="break">', "").replace("</span>", "")
    whole = found.head + found.rest
    lines = [part.replace("&lt;", "<").replace("&amp;", "&") for part in str(whole).split("\n")]
    read = [line.replace('<span class="break">↵</span>', "") for line in lines]
    assert read == [printable(line) for line in text.split("\n")]
