"""A chart puts every value in its place, and says what the places mean."""

from __future__ import annotations

import pytest

from orpo.report.curves import text_chart


def test_a_chart_looks_like_this() -> None:
    steps, series = [0, 50, 100], {"chosen": [-2.0, -1.5, -1.0], "rejected": [-2.0, -2.5, -3.0]}
    assert text_chart(steps, series, width=21, height=5).splitlines() == [
        "-1 ┤                    ●",
        "   ┤          ●",
        "   ┤○",
        "   ┤          ○",
        "-3 ┤                    ○",
        "   └─────────────────────",
        "    step 0            100",
        "    ● chosen   ○ rejected",
    ]


def test_unevenly_spaced_steps_keep_their_distances() -> None:
    (line, *_) = text_chart([0, 10, 100], {"x": [1.0, 1.0, 1.0]}, width=101, height=3).splitlines()
    plot = line.partition("┤")[2]
    assert [i for i, mark in enumerate(plot) if mark != " "] == [0, 10, 100]


@pytest.mark.parametrize("values", [[2.5], [2.5, 2.5, 2.5]])
def test_one_point_or_a_constant_is_a_chart_too(values: list[float]) -> None:
    chart = text_chart(list(range(len(values))), {"x": values})
    assert chart.startswith("2.5 ┤●")


def test_close_values_have_different_labels() -> None:
    lines = text_chart([0, 1], {"x": [-2.301, -2.304]}, height=4).splitlines()
    assert lines[0].startswith("-2.301 ┤")
    assert lines[3].startswith("-2.304 ┤")


def test_no_line_is_wider_than_the_plot_and_its_scale() -> None:
    chart = text_chart([0, 12345], {"a": [-1.234, 100.0], "b": [0.0, 1.0]}, width=40)
    assert max(map(len, chart.splitlines())) == len("-1.234 ┤") + 40
