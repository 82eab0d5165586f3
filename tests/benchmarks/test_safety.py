"""The benchmark of what safety costs measures what it says."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.paths import needs_shared

ROOT = Path(__file__).resolve().parents[2]


@needs_shared
def test_every_cost_is_measured_in_a_run(tmp_path: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/safety.py", "run", "--smoke", "--threads", "1"),
            *("--steps", "6", "--results", str(tmp_path)),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "safety.json").read_text(encoding="utf-8"))
    assert len(record["steps"]) == len(record["guard"]) == 5, "the first step warms up"
    assert len(record["saves"]) == 3
    assert 0 < record["hashing_per_save"] < min(record["saves"])
    assert all(0 < guard < step for guard, step in zip(record["guard"], record["steps"], strict=True))
    assert record["bytes"] > 3 * 4 * 260_000, "weights and two moments of each"
    assert "| the guard, every step |" in done.stdout
