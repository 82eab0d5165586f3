"""What the scripts of these benchmarks have in common: their batches, and how a result is kept."""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .environment import environment
from .ours import OPTIMISATION
from .workload import SIZES, Workload, read_workload

RESULTS = Path(__file__).resolve().parents[1] / "results"
WARMUP_STEPS = 2
"""After the first the optimizer has its moments; in the second, on the largest batch, a process takes all the
memory that it will need from the system.  A run of thousands of steps does both once."""


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measured_batches(dataset: str, size: str, steps: int) -> tuple[Workload, Workload]:
    """The batches with those of the warm-up, and without."""
    workload = read_workload(dataset, SIZES[size], 1 + steps)
    measured = range(1, len(workload))
    return workload.batches([0, workload.largest(), *measured]), workload.batches(measured)


def keep(path: Path, record: dict[str, Any], size: str, threads: int) -> None:
    """Write a result, with all that it depends on."""
    record = {
        "environment": environment(threads),
        "settings": asdict(SIZES[size]) | OPTIMISATION | {"warmup_steps": WARMUP_STEPS},
        **record,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    tell(f"wrote {path}")


def results_folder(asked: Path | None, *, is_trial: bool) -> Path:
    """The folder that was asked for; else that of the repository, which a trial run leaves alone."""
    if asked is not None:
        return asked
    return Path(tempfile.mkdtemp(prefix="orpo-benchmark-")) if is_trial else RESULTS
