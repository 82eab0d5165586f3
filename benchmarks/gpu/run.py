#!/usr/bin/env python3
"""Everything that only a GPU can tell, in one call of less than ten minutes.

    python benchmarks/gpu/run.py --out results               # on a machine with a CUDA GPU
    python benchmarks/gpu/run.py --out results --only attention head
    python benchmarks/gpu/run.py --out smoke --smoke         # tiny, on a CPU: does it run at all?

Parts run in the order of their worth until the time is spent, each in a process of its own, so that one that
fails or hangs loses nothing else.  Results are written as they come: results.jsonl, and results.md after each
part.  benchmarks/gpu/README.md says what is measured and what a machine needs.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from results import Record, write_tables

if TYPE_CHECKING:
    import torch

sys.path.append(str(Path(__file__).resolve().parents[1]))
"""Where `cpu` is, whose trainer of TRL's is used."""

SECONDS = 540
SMOKE_SECONDS = 30.0
REQUIRED = ("torch", "transformers", "peft", "pydantic", "ruamel.yaml", "zstandard", "psutil")


@dataclass(frozen=True)
class Part:
    """One process's share of the work."""

    name: str
    seconds: float
    """It is ended after this time; its results until then are kept."""

    run: Callable[[Record, bool, float], None]
    """Given where results go, whether this is a smoke test, and the seconds there are."""

    needs: str | None = None
    """A package without which it has nothing to measure."""


def _check(name: str, record: Record, smoke: bool, seconds: float) -> None:
    import checks

    getattr(checks, f"check_{name}")(record, _device(), smoke)


def _methods(name: str, record: Record, smoke: bool, seconds: float) -> None:
    import methods

    getattr(methods, f"check_{name}")(record, _device(), smoke)


def _sharding(record: Record, smoke: bool, seconds: float) -> None:
    import sharding

    sharding.check_sharding(record, _device(), smoke)


def _ladder(shape: str, method: str, record: Record, smoke: bool, seconds: float) -> None:
    import ladder

    ladder.run_ladder(ladder.plan_of(shape, method, smoke=smoke), record, _device(), seconds)


def _compiled(shape: str, method: str, record: Record, smoke: bool, seconds: float) -> None:
    import ladder

    ladder.run_compiled(ladder.plan_of(shape, method, smoke=smoke), record, _device(), seconds)


def _trl(shape: str, method: str, record: Record, smoke: bool, seconds: float) -> None:
    import ladder

    ladder.run_trl(ladder.plan_of(shape, method, smoke=smoke), record, _device(), seconds)


def _device() -> torch.device:
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _steps(kind: str, shape: str, method: str, seconds: float) -> Part:
    run = {"ours": _ladder, "compiled": _compiled, "trl": _trl}[kind]
    needs = "trl" if kind == "trl" else None
    return Part(f"{kind} {shape} {method}", seconds, partial(run, shape, method), needs)


PARTS = [
    Part("machine", 40, partial(_check, "machine")),
    Part("attention", 60, partial(_check, "attention")),
    Part("head", 75, partial(_check, "head")),
    Part("step", 60, partial(_check, "step")),
    _steps("ours", "llama-8b", "full", 75),
    _steps("ours", "llama-8b", "lora", 60),
    _steps("trl", "llama-8b", "lora", 60),
    _steps("ours", "llama-1b", "full", 50),
    _steps("trl", "llama-1b", "full", 45),
    _steps("compiled", "llama-8b", "full", 80),
    _steps("ours", "qwen-7b", "full", 70),
    _steps("ours", "qwen-7b", "lora", 60),
    Part("flex", 90, partial(_check, "flex")),
    Part("activations", 80, partial(_methods, "activations")),
    Part("qlora", 90, partial(_methods, "qlora"), "bitsandbytes"),
    Part("sharding", 60, _sharding),
    Part("optimizers", 90, partial(_methods, "optimizers")),
    _steps("trl", "llama-8b", "full", 60),
    _steps("compiled", "llama-8b", "lora", 80),
    _steps("ours", "llama-1b", "lora", 45),
    _steps("trl", "qwen-7b", "lora", 60),
]
"""In the order of what is worth knowing most if time runs out."""

STARTUP = 12
"""Seconds that a process may take to import everything."""


def run_part(part: Part, out: Path, smoke: bool, seconds: float) -> None:
    """Run a part in this process."""
    if not smoke and _device().type != "cuda":
        sys.exit("no CUDA GPU here; use --smoke")
    logging.basicConfig(level=logging.INFO)
    with warnings.catch_warnings():
        warnings.simplefilter("default")
        part.run(Record(out, part.name), smoke, seconds)


def run_all(parts: list[Part], out: Path, seconds: float) -> None:
    """Run parts in processes of their own, until the time is spent."""
    stop = time.monotonic() + seconds
    for part in parts:
        status = Record(out, "parts")
        left = stop - time.monotonic()
        if reason := _why_skipped(part, left):
            status.add(part.name, status=f"skipped, {reason}", seconds=0.0)
            write_tables(out)
            continue
        started = time.monotonic()
        limit = min(part.seconds, left - STARTUP)
        command = [sys.executable, __file__, "--out", str(out), "--part", part.name, "--seconds", str(limit)]
        with (out / "log.txt").open("a", encoding="utf-8") as log:
            log.write(f"\n== {part.name}\n")
            log.flush()
            try:
                done = subprocess.run(command, timeout=limit + STARTUP, stderr=log, check=False)
                outcome = (
                    "done" if done.returncode == 0 else f"failed, exit code {done.returncode}; see log.txt"
                )
            except subprocess.TimeoutExpired:
                outcome = "stopped, out of time"
        status.add(part.name, status=outcome, seconds=time.monotonic() - started)
        write_tables(out)


def _why_skipped(part: Part, left: float) -> str | None:
    if left < 2 * STARTUP:
        return "no time left"
    if part.needs and not _is_installed(part.needs):
        return f"{part.needs} is not installed"
    return None


def missing_packages() -> list[str]:
    """Packages without which nothing runs."""
    return [name for name in (*REQUIRED, "orpo") if not _is_installed(name)]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # of a parent package
        return False


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--only", nargs="+", choices=[part.name for part in PARTS], help="these parts alone")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="time for everything")
    parser.add_argument("--smoke", action="store_true", help="tiny models, in this process, on any machine")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if missing := missing_packages():
        sys.exit(f"missing: {', '.join(missing)}; see benchmarks/gpu/README.md")
    arguments.out.mkdir(parents=True, exist_ok=True)
    os.environ.setdefault("PYTORCH_ALLOC_CONF", "expandable_segments:True")
    if arguments.part:
        (part,) = (part for part in PARTS if part.name == arguments.part)
        run_part(part, arguments.out, False, arguments.seconds)
        return
    (arguments.out / "results.jsonl").unlink(missing_ok=True)
    parts = [part for part in PARTS if not arguments.only or part.name in arguments.only]
    if arguments.smoke:
        for part in parts:
            run_part(part, arguments.out, True, SMOKE_SECONDS)
        write_tables(arguments.out)
        return
    run_all(parts, arguments.out, arguments.seconds)


if __name__ == "__main__":
    main()
