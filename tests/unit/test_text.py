"""Hostile text cannot reach the terminal."""

from __future__ import annotations

import pytest

from orpo.text import duration, markdown, printable


def test_escape_sequences_and_direction_overrides_are_made_visible() -> None:
    hostile = "a\x1b[31mred\x1b]0;title\x07 \u202egnp.exe \x00\u2066 \x9b2J \ud800 \u2028\u2029\x85\ufeff"
    safe = printable(hostile)
    assert "\x1b" not in safe
    assert not any(ord(c) < 32 or c in "\u202e\u2066\x9b\ud800\u2028\u2029\x85\ufeff" for c in safe)
    assert len(safe.splitlines()) == 1


def test_line_breaks_become_one_line() -> None:
    assert printable("a\nb\tc") == "a↵b→c"


def test_long_text_is_cut_with_a_mark() -> None:
    assert printable("abcdef", 4) == "abc…"
    assert printable("abcd", 4) == "abcd"


def test_markdown_of_anything_is_text_in_one_cell() -> None:
    assert markdown("a|b\n`c` [d](e) <f> &g; \\|") == r"a\|b↵\`c\` \[d\](e) &lt;f> &amp;g; \\\|"
    assert markdown("*a* __b__ ~~c~~ $d$ ![e](f)") == r"\*a\* \_\_b\_\_ \~\~c\~\~ \$d\$ !\[e\](f)"
    assert markdown("x\u2028| y\x1b[2J") == r"x�\| y�\[2J"
    assert markdown("train_prefs") == "train_prefs"
    assert markdown(7) == "7"


@pytest.mark.parametrize(
    ("seconds", "words"), [(9.44, "9.4 s"), (200, "3 min 20 s"), (7500, "2 h 05 min"), (0, "0.0 s")]
)
def test_durations_read_as_people_say_them(seconds: float, words: str) -> None:
    assert duration(seconds) == words
