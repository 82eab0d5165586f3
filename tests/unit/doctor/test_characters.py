from __future__ import annotations

import pytest

from orpo.doctor.characters import (
    control_characters,
    control_in,
    markup_in,
    mojibake,
    mojibake_in,
    template_tokens,
)
from tests.conversations import chat, pair

CLEAN = [
    "plain",
    "café, naïve, Ærøskøbing, señor — “quoted” … €5",
    "Привет, мир! 你好。 こんにちは 👩‍👩‍👧 🇫🇮",
    "tabs\tand\r\nlines\n",
    "if a < s > b: <strong>bold</strong> [1] [INSTALL] <|>",
]


@pytest.mark.parametrize("text", CLEAN)
def test_clean_text_of_any_script_is_clean(text: str) -> None:
    assert mojibake_in(text) is None
    assert control_in(text) is None
    assert markup_in(text) is None


@pytest.mark.parametrize("text", ["café", "“quoted” — it’s", "naïve señor", "Привет"])
def test_utf8_read_as_latin_is_mojibake_and_its_repair_is_shown(text: str) -> None:
    broken = text.encode().decode("cp1252", errors="replace") if text == "Привет" else _as_windows(text)
    evidence = mojibake_in(f"start {broken} end")
    assert evidence is not None


def _as_windows(text: str) -> str:
    """UTF-8 bytes read as Windows-1252, with its five undefined bytes read as Latin-1, as browsers do."""
    return "".join(
        bytes([byte]).decode("latin-1" if byte in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else "cp1252")
        for byte in text.encode()
    )


def test_the_repair_is_beside_the_damage() -> None:
    assert mojibake_in("the cafÃ© is open") == "the cafÃ© is open | repaired: the café is open"


def test_lost_characters_are_mojibake() -> None:
    assert mojibake_in("caf\ufffd") == "character lost: caf\ufffd"


@pytest.mark.parametrize(
    ("character", "name"),
    [("\x00", "U+0000"), ("\x1b", "U+001B"), ("\x85", "U+0085"), ("\u202e", "U+202E"), ("\u200b", "U+200B")],
)
def test_control_characters_are_named(character: str, name: str) -> None:
    evidence = control_in(f"before{character}after")
    assert evidence is not None
    assert evidence.startswith(name)


@pytest.mark.parametrize(
    "text",
    ["<|im_start|>user", "[INST] hi [/INST]", "<s>Hello", "the end</s>\n", "a<start_of_turn>b", "<<SYS>>"],
)
def test_tokens_of_chat_templates_are_found(text: str) -> None:
    assert markup_in(text) is not None


@pytest.mark.parametrize(
    ("find", "bad"), [(mojibake, "cafÃ©"), (control_characters, "\x07"), (template_tokens, "<|eot_id|>")]
)
def test_every_text_of_a_pair_is_looked_at_and_a_row_counts_once(find, bad: str) -> None:
    pairs = [
        pair("fine", where="f:1"),
        pair(chat(f"Q {bad}"), where="f:2"),
        pair("Q", chosen=f"a {bad}", rejected=f"b {bad}", where="f:3"),
        pair("Q", rejected=f"b {bad}", where="f:4"),
    ]
    assert [hit.where for hit in find(pairs)] == ["f:2", "f:3", "f:4"]
