from __future__ import annotations

import math
import re
import xml.etree.ElementTree as ET
from itertools import pairwise
from string import ascii_uppercase

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.report.charts import (
    MOST_DOTS,
    MOST_POINTS,
    Series,
    curves,
    reliability,
    spread,
    thinned,
    tick_labels,
    ticks,
)
from orpo.statistics.intervals import Interval

FINITE = st.floats(-1e12, 1e12, allow_subnormal=False)


def series(values: list[float], mark: str = "", strong: bool = True) -> Series:
    return Series("one", mark, 0, tuple(enumerate(values)), strong=strong)


MANY = [series([math.sin(i * n) for i in range(50)], mark) for n, mark in enumerate(ascii_uppercase, start=1)]
CHARTS = {
    "one value": curves("title", [series([0.0])]),
    "flat": curves("title", [series([3.0] * 5)]),
    "chance outside the values": curves("title", [series([0.2, 0.3])], chance=0.0),
    "bounds": curves("title", [series([0.2, 0.3])], bounds=(0, 1), chance=0.5),
    "tiny": curves("title", [series([1e-300, 2e-300])]),
    "huge": curves("title", [series([-1e300, 1e300])]),
    "many": curves("title", MANY),
    "reliability": reliability("title", [(0.5, 0.0, Interval(0, 0.3)), (1.0, 1.0, Interval(0.8, 1))]),
    "unsure": reliability("title", [(0.5, 0.5, Interval(0.4, 0.6))]),
}  # fmt: skip


def assert_in_frame(picture: str) -> None:
    root = ET.fromstring(picture)
    _, _, width, height = (float(value) for value in root.attrib["viewBox"].split())
    for element in root.iter():
        for name, limit in (("x", width), ("x1", width), ("x2", width), ("cx", width)):
            assert 0 <= float(element.attrib.get(name, 0)) <= limit
        for name in ("y", "y1", "y2", "cy"):
            assert 0 <= float(element.attrib.get(name, 0)) <= height
        for x, y in re.findall(r"(\S+),(\S+)", element.attrib.get("points", "")):
            assert 0 <= float(x) <= width
            assert 0 <= float(y) <= height


@pytest.mark.parametrize("picture", CHARTS.values(), ids=CHARTS.keys())
def test_a_chart_is_well_formed_and_stays_in_its_frame(picture: str) -> None:
    assert_in_frame(picture)


@given(st.lists(FINITE, min_size=1, max_size=30))
def test_any_values_stay_in_the_frame(values: list[float]) -> None:
    assert_in_frame(curves("title", [series(values)]))


def test_values_are_where_the_axis_says() -> None:
    root = ET.fromstring(curves("title", [series([10.0, 20.0, 40.0])]))
    labels = {text.text: float(text.attrib["y"]) - 4 for text in root.iter("text")}
    heights = [float(circle.attrib["cy"]) for circle in root.iter("circle")]
    assert heights == pytest.approx([labels[text] for text in ("10", "20", "40")], abs=0.1)


def test_curves_differ_without_colour() -> None:
    """Each has its letter at its end, and another class of line."""
    picture = curves("title", [Series("x", m, i, ((0, i), (9, i))) for i, m in enumerate("AB")])
    root = ET.fromstring(picture)
    assert [line.attrib["class"] for line in root.iter("polyline")] == ["series thin s0", "series thin s1"]
    assert {"A", "B"} <= {text.text for text in root.iter("text")}


def test_letters_do_not_lie_on_each_other() -> None:
    root = ET.fromstring(curves("title", [Series("x", m, 0, ((0, 1.0), (9, 1.0))) for m in "ABCDE"]))
    heights = sorted(float(text.attrib["y"]) for text in root.iter("text") if str(text.text) in "ABCDE")
    assert all(below - above >= 10 for above, below in pairwise(heights))


def test_letters_stay_above_the_axis() -> None:
    low = [Series("x", mark, 0, ((0, 1.0), (9, 0.0))) for mark in "ABCDE"]
    root = ET.fromstring(curves("title", low))
    axis = max(float(line.attrib["y1"]) for line in root.iter("line"))
    heights = [float(text.attrib["y"]) for text in root.iter("text") if str(text.text) in "ABCDE"]
    assert max(heights) - 4 == pytest.approx(axis)


def test_intervals_are_drawn() -> None:
    one = Series("x", "", 2, ((0, 0.5),), intervals=((0, Interval(0.25, 0.75)),))
    root = ET.fromstring(curves("title", [one], bounds=(0, 1)))
    (whisker,) = [line for line in root.iter("line") if line.attrib["class"] == "whisker s2"]
    assert float(whisker.attrib["y1"]) > float(whisker.attrib["y2"])


@given(FINITE, FINITE)
def test_ticks_surround_the_range(a: float, b: float) -> None:
    low, high = min(a, b), max(a, b)
    found = ticks(low, high)
    slack = 1e-6 * (found[-1] - found[0])
    assert found[0] <= low + slack
    assert found[-1] >= high - slack
    assert 2 <= len(found) <= 8


@pytest.mark.parametrize(
    ("low", "high", "labels"),
    [
        (0, 1, ["0.0", "0.5", "1.0"]),
        (1.87, 2.5, ["1.8", "2.0", "2.2", "2.4", "2.6"]),
        (0, 8e-6, ["0", "2e-06", "4e-06", "6e-06", "8e-06"]),
        (100, 12_000, ["0", "5,000", "10,000", "15,000"]),
        (-1, 1, ["-1.0", "-0.5", "0.0", "0.5", "1.0"]),
    ],
)
def test_ticks_are_round(low: float, high: float, labels: list[str]) -> None:
    assert tick_labels(ticks(low, high)) == labels


def test_thinning_keeps_the_ends_and_the_extremes() -> None:
    points = [(i, math.sin(i)) for i in range(10_000)]
    points[5_000] = (5_000, 99.0)
    kept = thinned(points)
    assert len(kept) <= MOST_POINTS
    assert {points[0], points[-1], points[5_000]} <= set(kept)
    assert kept == sorted(kept)
    assert thinned(points[:10]) == points[:10]


def test_spreading_keeps_the_ends() -> None:
    assert spread(range(100), 4) == [0, 33, 66, 99]
    assert spread([7], 4) == [7]
    assert len(spread(range(1000), MOST_DOTS)) == MOST_DOTS
