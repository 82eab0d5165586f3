from __future__ import annotations

from pathlib import Path

import pytest

from orpo.report.panels import MOST_ROWS, figures, number
from orpo.report.run import read_runs
from tests.unit.report.runs import make_run


def test_one_run_has_a_picture_for_all_that_is_logged(tmp_path: Path) -> None:
    found = {figure.title: figure for figure in figures(read_runs([make_run(tmp_path / "run")]))}
    assert list(found) == [
        "Loss",
        "Mean log-probability per token",
        "Mean log odds ratio",
        "Mean reward margin",
        "Pair accuracy",
        "Supervised loss (NLL)",
        "Gradient norm",
        "Learning rate",
        "Tokens per second",
        "Pairs per second",
        "Peak memory, GiB",
    ]
    assert [one.label for one in found["Loss"].series] == ["training", "held out"]
    assert [one.label for one in found["Mean log-probability per token"].series] == [
        "chosen, training",
        "rejected, training",
        "chosen, held out",
        "rejected, held out",
    ]
    assert found["Peak memory, GiB"].series[0].points[0] == (5, 1.0)


def test_held_out_accuracy_has_intervals_and_training_accuracy_has_none(tmp_path: Path) -> None:
    (accuracy,) = [
        one for one in figures(read_runs([make_run(tmp_path / "run")])) if one.title == "Pair accuracy"
    ]
    training, held_out = accuracy.series
    assert not training.intervals
    assert [step for step, _ in held_out.intervals] == [0, 10, 20, 30, 40]
    assert dict(accuracy.table)[0] == ["–", "0.5000 (0.403 to 0.597)"]


def test_several_runs_have_a_picture_for_each_curve(tmp_path: Path) -> None:
    runs = read_runs([make_run(tmp_path / name, pace=pace) for name, pace in (("a", 1), ("b", 2))])
    found = {figure.title: figure for figure in figures(runs)}
    assert [(one.mark, one.label) for one in found["Loss: held out"].series] == [("A", "a"), ("B", "b")]
    assert "Mean log-probability per token: rejected, held out" in found


def test_the_table_beside_a_picture_is_short_and_has_both_ends(tmp_path: Path) -> None:
    (loss, *_) = figures(read_runs([make_run(tmp_path / "run", steps=400, every=1)]))
    table = dict(loss.table)
    assert len(table) == MOST_ROWS
    assert (min(table), max(table)) == (0, 400)


def test_without_logs_there_is_no_picture(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    for name in ("metrics.jsonl", "timing.jsonl"):
        (path / name).write_text("", encoding="utf-8")
    assert figures(read_runs([path])) == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0.0000"), (0.69314, "0.6931"), (1e-5, "1.000e-05"), (-3.5, "-3.5000"), (1234.5, "1,234.5")],
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert number(value) == text
