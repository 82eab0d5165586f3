"""What is shown of several processes is within what is promised, and can be shown again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROMISED = 1e-3
"""The largest relative difference of a tensor's change that is called the same update."""


def figures(record: dict[str, Any]) -> dict[tuple[str, int, str, bool], dict[str, float]]:
    return {
        (run["weights"], run["processes"], run["parallel"], run["after"] is not None): run
        for run in record["runs"]
    }


def test_the_results_that_are_shown_are_of_all_ways_and_within_the_promise() -> None:
    file = ROOT / "benchmarks" / "results" / "invariance.json"
    record = json.loads(file.read_text(encoding="utf-8"))
    shown = figures(record)
    assert record["steps"] == 20
    assert {
        (weights, processes, parallel, False)
        for weights in ("full", "LoRA")
        for processes in (1, 2, 4)
        for parallel in ("ddp", "fsdp")
    } < shown.keys()
    assert len(record["runs"]) - 12 == 10, "changes in the middle of a run"
    for run in shown.values():
        assert run["weights_difference"] <= PROMISED
        assert run["loss_difference"] <= PROMISED
    several = [run for (_, processes, _, _), run in shown.items() if processes > 1]
    assert all(run["weights_difference"] > 0 for run in several), "sums are rounded otherwise"


def test_the_table_in_the_documentation_is_that_of_the_results() -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/invariance.py", "table"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() in (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_smoke_test_measures_all_ways(tmp_path: Path) -> None:
    file = tmp_path / "invariance.json"
    done = subprocess.run(
        [sys.executable, "benchmarks/invariance.py", "run", "--smoke", "--results", str(file)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads(file.read_text(encoding="utf-8"))
    assert len(record["runs"]) == 18
    assert all(run["weights_difference"] <= PROMISED for run in record["runs"])
