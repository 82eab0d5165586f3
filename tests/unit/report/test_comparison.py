"""What may be compared is told, and so is what may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.report.comparison import Comparison, compare, plain
from orpo.report.run import read_runs
from tests.unit.report.runs import CONFIG, definition, make_run, source, summary

FRACTION = CONFIG.replace(
    "  eval:\n    path: eval.jsonl                            # config.yaml:4\n    where: null"
    "                                 # default\n",
    "  eval: 0.1                                     # config.yaml:4\n",
)

EVAL_WHERE = "where: null                                 # default\nobjective"


def compared(folder: Path, *changes: dict[str, Any]) -> Comparison:
    """Runs that are alike but for `changes`."""
    alike: dict[str, Any] = {"ending": summary()}
    paths = [make_run(folder / str(i), **(alike | change)) for i, change in enumerate(changes)]
    return compare(read_runs(paths))


def test_equal_runs_share_everything(tmp_path: Path) -> None:
    found = compared(tmp_path, {}, {})
    assert (found.cautions, found.settings, found.facts) == ((), (), ())
    assert found.held_out == {"A": 1, "B": 1}


DATA = definition()["data"]
OTHER_DATA = {
    "another file": {"data": {"eval": [source("eval.jsonl", "sha256:9")]}},
    "other rows of it": {"config": CONFIG.replace(EVAL_WHERE, "where: x > 1  # config.yaml:5\nobjective")},
    "another limit": {"data": {"eval": [source("e.jsonl", "sha256:2", used=9, left_out={"max_rows": 91})]}},
    "another template": {"template": {"sha256": "cd" * 32}},
    "another length": {"data": {"max_length": 128}},
    "another truncation": {"data": {"truncation": "drop"}},
    "fewer of use": {"data": {"used": DATA["used"] | {"eval": {"pairs": 9, "singles": 0, "of_no_use": 90}}}},
}  # fmt: skip


@pytest.mark.parametrize("change", OTHER_DATA.values(), ids=OTHER_DATA.keys())
def test_other_held_out_pairs_are_told(tmp_path: Path, change: dict[str, Any]) -> None:
    found = compared(tmp_path, {}, change, {})
    assert found.held_out == {"A": 1, "B": 2, "C": 1}
    assert "same held-out pairs" in found.cautions[0]


def test_the_same_file_in_another_place_is_the_same_data(tmp_path: Path) -> None:
    change = {
        "config": CONFIG.replace("eval.jsonl", "moved.jsonl"),
        "data": {"eval": [source("moved.jsonl", "sha256:2")]},
    }
    assert compared(tmp_path, {}, change).held_out == {"A": 1, "B": 1}


def test_a_fraction_that_is_held_out_depends_on_the_seed(tmp_path: Path) -> None:
    first = {"config": FRACTION, "data": {"eval": []}}
    second = first | {"config": FRACTION.replace("42", "43")}
    assert compared(tmp_path, first, first, second).held_out == {"A": 1, "B": 1, "C": 2}
    other_seed = {"config": CONFIG.replace("42", "43")}
    assert compared(tmp_path / "whole", {}, other_seed).held_out == {"A": 1, "B": 1}


def test_a_run_without_held_out_pairs_has_none(tmp_path: Path) -> None:
    none = {"data": {"eval": [], "used": {"train": DATA["used"]["train"]}}}
    found = compared(tmp_path, none, none)
    assert found.held_out == {"A": 0, "B": 0}
    assert found.cautions == ()


def test_settings_that_differ_are_shown_and_output_is_not(tmp_path: Path) -> None:
    config = CONFIG.replace("0.1 ", "0.2 ").replace("output: run", "output: two") + "extra: null\n"
    (one, two) = compared(tmp_path, {}, {"config": config}).settings
    assert (one.what, one.values) == ("objective.lambda", ("0.1", "0.2"))
    assert (two.what, two.values) == ("extra", ("–", "null"))


def test_facts_that_differ_are_shown(tmp_path: Path) -> None:
    found = compared(tmp_path, {}, {"versions": {"torch": "2.14.0"}, "engine": {"device": "cuda"}})
    assert [(one.what, one.values) for one in found.facts] == [
        ("engine: device", ("cpu", "cuda")),
        ("version: torch", ("2.13.0", "2.14.0")),
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"objective": {"lambda": 0.2}}, "objectives differ"),
        ({"model": {"name": "other"}}, "models differ"),
        ({"ending": None}, "Not all runs are finished"),
        ({"ending": summary(status="failed")}, "Not all runs are finished"),
    ],
)
def test_what_is_not_to_be_compared_is_said(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    (caution,) = compared(tmp_path, {}, change).cautions
    assert said in caution


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, "null"), (True, "true"), (1e-5, "1e-05"), (["a", None], "[a, null]"), ("x", "x")],
)
def test_values_are_shown_as_configurations_have_them(value: object, text: str) -> None:
    assert plain(value) == text
