from __future__ import annotations

from orpo.doctor.page import as_page
from tests.pages import ParsedPage, assert_self_contained
from tests.unit.doctor.reports import hostile_report

PAGE = as_page(hostile_report())


def test_the_page_needs_no_script_and_no_network_and_forbids_both() -> None:
    assert_self_contained(PAGE)


def test_hostile_text_is_text() -> None:
    assert "<script" not in PAGE
    assert "&lt;script&gt;" in PAGE
    for character in "\x1b\u202e\x00":
        assert character not in PAGE
    assert "<script>alert(1)</script>" in ParsedPage(PAGE).text


def test_the_page_says_what_the_report_says() -> None:
    text = " ".join(ParsedPage(PAGE).text.split())
    assert "Findings: 1 fatal, 1 note." in text
    assert "bad_thing train: 1 of 3" in text
    assert "→ Mend it." in text
    assert "other_checkneeds a model" in text  # two cells of a row
    assert sum(tag == "svg" for tag, _ in ParsedPage(PAGE).tags) == 3


def test_the_page_follows_the_readers_light_or_dark() -> None:
    assert "prefers-color-scheme: dark" in PAGE
