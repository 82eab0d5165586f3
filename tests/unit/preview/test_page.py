from __future__ import annotations

from orpo.preview.page import as_page
from tests.pages import ParsedPage, assert_self_contained
from tests.unit.preview.previews import HOSTILE, TRL, Texts, preview_of

PAGE = as_page(
    preview_of(
        Texts(HOSTILE, "Yés\nsir", "No", where=HOSTILE, cut=True), Texts("Hi", "Yo", None), objective=TRL
    )
)


def test_the_page_needs_no_script_and_no_network_and_forbids_both() -> None:
    assert_self_contained(PAGE)


def test_hostile_text_is_text() -> None:
    assert "<script" not in PAGE
    for character in "\x1b\u202e\x00":
        assert character not in PAGE
    assert "<script>alert(1)</script>" in ParsedPage(PAGE).text


def test_every_token_is_there_with_its_id_and_place() -> None:
    titles = [a["title"] for tag, a in ParsedPage(PAGE).tags if tag == "span" and "title" in a]
    more = 1 + 2  # é and the override are characters of two and three tokens
    assert titles[-1] == f"id 2; position 4; row 0, column {len(titles) + more - 1}"
    assert "Yé₂s↵\nsir" in ParsedPage(PAGE).text
    assert "⟨</s> 2⟩" in ParsedPage(PAGE).text


def test_terms_are_told_by_classes_and_signs() -> None:
    paragraphs = [a.get("class") for tag, a in ParsedPage(PAGE).tags if tag == "p"]
    assert paragraphs[-6:] == ["nll", "both", "preference", "context", "nll", "nll"]
    assert {"N ", " P", "NP"} <= set(PAGE.replace("<", ">").split(">"))


def test_the_page_says_what_the_summary_says() -> None:
    text = " ".join(ParsedPage(PAGE).text.split())
    assert "pairs 1, single responses 1" in text
    assert "CUT at max_length, no end token" in text
    assert "single response, weight 1" in text


def test_the_page_follows_the_readers_light_or_dark_and_can_be_printed() -> None:
    assert "prefers-color-scheme: dark" in PAGE
    assert "@media print" in PAGE
