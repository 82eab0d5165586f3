from __future__ import annotations

import xml.etree.ElementTree as ET

from orpo.pages import svg

HOSTILE = '"><script>alert(1)</script>&'


def test_a_picture_is_well_formed_and_says_what_it_is() -> None:
    parts = [
        svg.line(0, 1, 2, 3, "axis"),
        svg.polyline([(0, 1), (2.25, 3)], "series"),
        svg.circle(1, 2, 3, "dot"),
        svg.bar(1, 2, 3, 4, "track"),
        svg.text(1, 2, "words", "middle"),
    ]
    root = ET.fromstring(svg.picture(10, 20, "A title", parts))
    assert root.attrib == {"viewBox": "0 0 10 20", "role": "img", "aria-label": "A title"}
    assert [child.tag for child in root] == ["title", "line", "polyline", "circle", "rect", "text"]
    assert root[0].text == "A title"
    assert root[2].attrib["points"] == "0.0,1.0 2.2,3.0"


def test_hostile_words_are_words() -> None:
    root = ET.fromstring(svg.picture(10, 20, HOSTILE, [svg.text(0, 0, HOSTILE, "end")]))
    assert root.attrib["aria-label"] == HOSTILE
    assert [child.text for child in root] == [HOSTILE, HOSTILE]
