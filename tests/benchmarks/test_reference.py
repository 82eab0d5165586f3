"""The benchmark of the reference model measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.paths import needs_shared

ROOT = Path(__file__).resolve().parents[2]
CACHED, LIVE = "DPO, reference scored once", "DPO, reference in memory"


@needs_shared
def test_both_references_give_the_same_losses_and_every_side_is_measured(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/reference.py", "run", "--smoke", "--threads", "1"),
            *("--steps", "3", "--results", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "reference-hh.json").read_text(encoding="utf-8"))
    losses = {name: side["losses"] for name, side in record["sides"].items()}
    assert losses[CACHED] == pytest.approx(losses[LIVE], rel=1e-5)
    assert len(set(losses[LIVE])) == 3, "the policy leaves its reference behind"
    assert losses.keys() == {"ORPO", CACHED, LIVE} == record["memory"]["sides"].keys()
    assert all(len(side["seconds"]) == 3 for side in record["sides"].values())
    assert record["scoring"]["pairs"] == 3 * record["settings"]["batch_size"]
    assert record["scoring"]["seconds"] > 0
    for resident in record["memory"]["sides"].values():
        assert resident["start"] < resident["before"][0], "the models are counted"
        assert len(resident["peak"]) == 2
    first, *_, last = done.stdout.splitlines()
    assert first == f"|  | ORPO | {CACHED} | {LIVE} |"
    assert last.startswith("| × | 1.00 |")
