from __future__ import annotations

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from orpo.doctor import charts
from orpo.doctor.lengths import summarise
from orpo.doctor.truncation import cuts
from orpo.statistics.rates import Rate

LENGTHS = np.array([(10, 20, 30), (200, 1500, 40), (5, 600, 8)])
CHARTS = {
    "histogram": charts.histogram(summarise(LENGTHS, "tokens")),
    "histogram of one empty pair": charts.histogram(summarise(np.zeros((1, 3), dtype=np.int64), "tokens")),
    "rates": charts.rates([("one", Rate(0, 9)), ("two", Rate(9, 9)), ("none", Rate(0, 0))]),
    "cuts": charts.cuts(cuts(LENGTHS, 300), len(LENGTHS)),
}


@pytest.mark.parametrize("svg", CHARTS.values(), ids=CHARTS.keys())
def test_a_chart_is_well_formed_and_stays_in_its_frame(svg: str) -> None:
    root = ET.fromstring(svg)
    _, _, width, height = (float(value) for value in root.attrib["viewBox"].split())
    for element in root.iter():
        for name in ("x", "x1", "x2", "cx"):
            assert 0 <= float(element.attrib.get(name, 0)) <= width
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.attrib.get(name, 0)) <= height
        for x, y in re.findall(r"(\S+),(\S+)", element.attrib.get("points", "")):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height


def test_bars_are_shares_of_the_pairs() -> None:
    svg = charts.cuts(cuts(np.array([(10, 200, 10), (10, 20, 10), (500, 20, 10), (10, 30, 10)]), 128)[:1], 4)
    widths = [float(width) for width in re.findall(r'width="([\d.]+)"', svg)]
    track, emptied, cut = widths
    assert emptied / track == pytest.approx(0.25, abs=1e-3)
    assert cut / track == pytest.approx(0.25, abs=1e-3)
    assert "25.0% cut, 25.0% emptied" in svg


def test_a_point_is_at_its_share() -> None:
    svg = charts.rates([("even", Rate(50, 100))])
    (point,) = re.findall(r'cx="([\d.]+)"', svg)
    (chance,) = re.findall(r'class="chance" x1="([\d.]+)"', svg)
    assert point == chance


def test_charts_have_no_script_no_style_and_no_link() -> None:
    for svg in CHARTS.values():
        assert set(re.findall(r"<(\w+)", svg)) <= {
            "svg",
            "title",
            "line",
            "text",
            "polyline",
            "circle",
            "rect",
        }
        assert "href" not in svg
        assert " on" not in re.sub(r">[^<]*<", "><", svg)
