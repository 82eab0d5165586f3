"""A run that is killed, at whatever moment, goes on to the bytes that it would have left anyway.

Here a drawn sample of the moments; `scripts/faults --all` tries every one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.faults.__main__ import all_moments, sample

ROOT = Path(__file__).resolve().parents[2]


def sweep(processes: int, points: int) -> dict[str, Any]:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "tests.faults", "--json"),
            *("--processes", str(processes), "--points", str(points), "--seed", "20"),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)[0]


@pytest.mark.parametrize(("processes", "points"), [(1, 18), (2, 3)])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(processes: int, points: int) -> None:
    result = sweep(processes, points)
    assert result["failed"] == {}
    assert result["tried"] == points
    assert result["moments"] > 400


def test_the_moments_are_every_step_and_every_change_and_the_sample_has_both() -> None:
    moments = all_moments(300)
    assert len({str(kill) for kill in moments}) == len(moments) == 320
    drawn = sample(moments, 24, seed=0)
    assert len(set(drawn)) == 24
    assert sum(kill.step is not None for kill in drawn) == 8
    assert drawn == sample(moments, 24, seed=0) != sample(moments, 24, seed=1)


def test_a_run_goes_on_with_another_number_of_processes() -> None:
    """The same pairs in the same batches, so the same losses row by row; sums are rounded otherwise."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.elastic"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    for name, change in (("1 to 2", "processes 1 -> 2"), ("2 to 1", "processes 2 -> 1")):
        assert results[name]["weights"] < 1e-3
        assert results[name]["losses"] < 1e-4
        assert f"sums may round otherwise, because of {change}" in results[name]["log"]
