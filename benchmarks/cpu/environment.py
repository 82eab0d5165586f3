"""What a measurement was made on and with."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

PACKAGES = ("orpo", "torch", "transformers", "trl", "accelerate", "numpy")
REPOSITORY = Path(__file__).resolve().parents[2]


def environment(threads: int) -> dict[str, Any]:
    """Processor, threads, versions and commit."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "threads": threads,
        "load": os.getloadavg()[0],
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--", "src").splitlines()),
    }


def _processor() -> str:
    """Name and instruction sets that matter to matrix products, where the system tells."""
    info = Path("/proc/cpuinfo")
    if not info.exists():
        return platform.processor()
    lines = (line.partition(":") for line in info.read_text(encoding="utf-8").splitlines())
    facts = {key.strip(): value.strip() for key, _, value in lines}
    sets = [name for name in ("avx2", "avx512f", "avx512_bf16", "amx_tile") if name in facts["flags"].split()]
    return f"{facts['model name']} ({', '.join(sets)})"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=REPOSITORY, check=True, capture_output=True, text=True
    ).stdout.strip()
