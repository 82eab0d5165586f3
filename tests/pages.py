"""Reads the HTML pages that the package writes."""

from __future__ import annotations

from html.parser import HTMLParser

_LOADING_TAGS = {"script", "link", "img", "iframe", "object", "a"}
_LOADING_ATTRIBUTES = {"src", "href"}


class ParsedPage(HTMLParser):
    """Every tag of a page with its attributes, and the text between them."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_self_contained(page: str) -> None:
    """It runs and loads nothing, and forbids both for good measure."""
    tags = ParsedPage(page).tags
    for tag, attributes in tags:
        assert tag not in _LOADING_TAGS
        assert not _LOADING_ATTRIBUTES & attributes.keys()
        assert not any(name.startswith("on") for name in attributes)
    assert "url(" not in page
    assert "@import" not in page
    policies = [a.get("content") for _, a in tags if a.get("http-equiv") == "Content-Security-Policy"]
    assert policies == ["default-src 'none'; style-src 'unsafe-inline'"]
