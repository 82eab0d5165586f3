"""Resident memory of a process that trains; what is read here is Linux's."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

from .ours import Side
from .workload import Size, Workload

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")

STEPS = 2


@dataclass
class Resident:
    """Bytes, one entry per optimizer step."""

    start: int = 0
    """Before there is a model: interpreter, libraries and pairs."""

    earlier: int = 0
    """Highest before the first step."""

    before: list[int] = field(default_factory=list)
    """Right before the step: interpreter, libraries, parameters, and from the second on Adam's moments."""

    peak: list[int] = field(default_factory=list)
    """Highest in the step."""

    state_bytes: int = 0
    """Parameters and the two moments that Adam keeps of each."""


class MemoryClock(TrainerCallback):
    """Reads the resident size before steps, and its peak in them."""

    def __init__(self) -> None:
        trim()
        self.resident = Resident(start=status("VmRSS"))

    def on_step_begin(self, *_: Any, **details: Any) -> None:
        trained = (p for p in details["model"].parameters() if p.requires_grad)
        self.resident.state_bytes = 3 * sum(parameter.nbytes for parameter in trained)
        if not self.resident.before:
            self.resident.earlier = status("VmHWM")
        trim()
        self.resident.before.append(status("VmRSS"))
        CLEAR_REFS.write_text("5")  # the peak from here on, see proc(5)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.resident.peak.append(status("VmHWM"))


def in_fresh_processes(
    script: Path,
    sides: Mapping[str, Side],
    batch: Workload,
    options: Sequence[str],
    tell: Callable[[str], None],
) -> dict[str, dict[str, Any]]:
    """Resident memory of sides, each in a process of its own: `SCRIPT side NAME FOLDER OPTIONS`.

    Args:
        script: calls `train_alone` when it is run so.
        sides: by name.
        batch: what they train on.
        options: of the script.
        tell: called with a line of progress after each side.

    Returns:
        `Resident` as a dictionary, by name.
    """
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        batch.save(Path(folder) / _BATCH)
        for name, side in sides.items():
            command = [sys.executable, str(script), "side", name, folder, *options]
            subprocess.run(command, check=True, env=os.environ | side.variables)
            found[name] = json.loads((Path(folder) / _RESIDENT).read_text(encoding="utf-8"))
            tell(f"{name}: {max(found[name]['peak']) / 2**20:,.0f} MiB at most")
    return found


def train_alone(side: Side, size: Size, folder: Path) -> None:
    """What a process of `in_fresh_processes` does."""
    workload = Workload.load(size, folder / _BATCH)
    clock = MemoryClock()
    side.train(workload, STEPS, clock)
    (folder / _RESIDENT).write_text(json.dumps(asdict(clock.resident)), encoding="utf-8")


_BATCH, _RESIDENT = "batch.json", "resident.json"


def trim() -> None:
    """Give back what has been freed: it is not in use."""
    ctypes.CDLL(None).malloc_trim(0)


def status(name: str) -> int:
    """Bytes that a line of the process's status tells."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
