from __future__ import annotations

from html.parser import HTMLParser

from orpo.doctor.page import as_page
from tests.unit.doctor.reports import hostile_report


class Collector(HTMLParser):
    """Every tag with its attributes, and the text between them."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed() -> Collector:
    collector = Collector()
    collector.feed(as_page(hostile_report()))
    collector.close()
    return collector


def test_the_page_needs_no_script_and_no_network() -> None:
    for tag, attributes in parsed().tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "a"}
        assert not {"src", "href"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)


def test_the_page_forbids_both_for_good_measure() -> None:
    policies = [
        a.get("content") for _, a in parsed().tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_text_is_text() -> None:
    page = as_page(hostile_report())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for character in "\x1b\u202e\x00":
        assert character not in page
    assert "<script>alert(1)</script>" in parsed().text


def test_the_page_says_what_the_report_says() -> None:
    text = " ".join(parsed().text.split())
    assert "Findings: 1 fatal, 1 note." in text
    assert "bad_thing train: 1 of 3" in text
    assert "→ Mend it." in text
    assert "other_checkneeds a model" in text  # two cells of a row
    assert sum(tag == "svg" for tag, _ in parsed().tags) == 3


def test_the_page_follows_the_readers_light_or_dark() -> None:
    assert "prefers-color-scheme: dark" in as_page(hostile_report())
