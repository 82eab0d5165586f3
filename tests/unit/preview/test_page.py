from __future__ import annotations

from html.parser import HTMLParser

from orpo.preview.page import as_page
from tests.unit.preview.previews import HOSTILE, TRL, Texts, preview_of

PAGE = as_page(
    preview_of(
        Texts(HOSTILE, "Yés\nsir", "No", where=HOSTILE, cut=True), Texts("Hi", "Yo", None), objective=TRL
    )
)


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
    collector.feed(PAGE)
    collector.close()
    return collector


def test_the_page_needs_no_script_and_no_network() -> None:
    for tag, attributes in parsed().tags:
        assert tag not in {"script", "link", "img", "iframe", "object", "a"}
        assert not {"src", "href"} & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in PAGE
    assert "@import" not in PAGE


def test_the_page_forbids_both_for_good_measure() -> None:
    policies = [
        a.get("content") for _, a in parsed().tags if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]


def test_hostile_text_is_text() -> None:
    assert "<script" not in PAGE
    for character in "\x1b\u202e\x00":
        assert character not in PAGE
    assert "<script>alert(1)</script>" in parsed().text


def test_every_token_is_there_with_its_id_and_place() -> None:
    titles = [a["title"] for tag, a in parsed().tags if tag == "span" and "title" in a]
    more = 1 + 2  # é and the override are characters of two and three tokens
    assert titles[-1] == f"id 2; position 4; row 0, column {len(titles) + more - 1}"
    assert "Yé₂s↵\nsir" in parsed().text
    assert "⟨</s> 2⟩" in parsed().text


def test_terms_are_told_by_classes_and_signs() -> None:
    paragraphs = [a.get("class") for tag, a in parsed().tags if tag == "p"]
    assert paragraphs[-6:] == ["nll", "both", "preference", "context", "nll", "nll"]
    assert {"N ", " P", "NP"} <= set(PAGE.replace("<", ">").split(">"))


def test_the_page_says_what_the_summary_says() -> None:
    text = " ".join(parsed().text.split())
    assert "pairs 1, single responses 1" in text
    assert "CUT at max_length, no end token" in text
    assert "single response, weight 1" in text


def test_the_page_follows_the_readers_light_or_dark_and_can_be_printed() -> None:
    assert "prefers-color-scheme: dark" in PAGE
    assert "@media print" in PAGE
