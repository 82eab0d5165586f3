"""Resident memory of a process that trains; what is read here is Linux's."""

from __future__ import annotations

import ctypes
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from transformers import TrainerCallback

STATUS = Path("/proc/self/status")
CLEAR_REFS = Path("/proc/self/clear_refs")

STEPS = 2


@dataclass
class Resident:
    """Bytes, one entry per optimizer step."""

    before: list[int] = field(default_factory=list)
    """Right before the step: interpreter, libraries, parameters, and from the second on Adam's moments."""

    peak: list[int] = field(default_factory=list)
    """Highest in the step."""

    state_bytes: int = 0
    """Parameters and the two moments that Adam keeps of each."""


class MemoryClock(TrainerCallback):
    """Reads the resident size before steps, and its peak in them."""

    def __init__(self) -> None:
        self.resident = Resident()

    def on_step_begin(self, *_: Any, **details: Any) -> None:
        trained = (p for p in details["model"].parameters() if p.requires_grad)
        self.resident.state_bytes = 3 * sum(parameter.nbytes for parameter in trained)
        ctypes.CDLL(None).malloc_trim(0)  # what the step before has freed is not in use
        self.resident.before.append(_status("VmRSS"))
        CLEAR_REFS.write_text("5")  # the peak from here on, see proc(5)

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.resident.peak.append(_status("VmHWM"))


def _status(name: str) -> int:
    """Bytes that a line of the process's status tells."""
    for line in STATUS.read_text(encoding="ascii").splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)
