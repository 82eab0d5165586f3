"""Kills runs at chosen moments, lets them go on, and compares them with one that was not killed."""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

from tests.faults.killing import KILLED
from tests.faults.runs import STEPS, Bench, Kill, differences


def main() -> None:
    """See `--help`; exits with 1 if a run was not the same."""
    parser = argparse.ArgumentParser(prog="scripts/faults", description=__doc__)
    parser.add_argument("--all", action="store_true", help="every moment, with 1 process and with 2")
    parser.add_argument("--points", type=int, default=24, help="how many moments to draw (default: 24)")
    parser.add_argument("--processes", type=int, default=1, help="of the run (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of the draw (default: 0)")
    parser.add_argument("--json", action="store_true", help="the result as JSON on stdout")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="orpo-faults-") as folder:
        results = [
            sweep(Path(folder) / str(processes), processes, None if asked.all else asked.points, asked.seed)
            for processes in ((1, 2) if asked.all else (asked.processes,))
        ]
    if asked.json:
        sys.stdout.write(json.dumps(results) + "\n")
    sys.exit(any(result["failed"] for result in results))


def sweep(folder: Path, processes: int, points: int | None, seed: int) -> dict[str, object]:
    """Kill a run at some or all moments.

    Returns:
        How many moments there are, how many were tried, and what went wrong at which.
    """
    os.environ["ORPO_CACHE"] = str(folder / "cache")
    folder.mkdir()
    bench = Bench(folder, processes)
    bench.prepare()
    whole = folder / "whole"
    codes = bench.run(whole)
    assert not any(codes), whole.with_suffix(".log").read_text(encoding="utf-8")
    changes = bench.changes(whole)
    moments = all_moments(len(changes))
    chosen = moments if points is None else sample(moments, points, seed)
    failed: dict[str, str] = {}
    started = time.monotonic()
    for number, kill in enumerate(chosen, start=1):
        run = folder / f"killed-{number}"
        if wrong := try_moment(bench, run, kill, whole):
            failed[name_of(kill, changes)] = wrong
        say(f"\r{processes} process(es): {number} of {len(chosen)} moments, {len(failed)} not the same")
    say(f" ({time.monotonic() - started:.0f} s)\n")
    for moment, wrong in failed.items():
        say(f"  {moment}: {wrong}\n")
    return {"processes": processes, "moments": len(moments), "tried": len(chosen), "failed": failed}


def all_moments(changes: int) -> list[Kill]:
    """Every step and every change of the run directory."""
    return [Kill(step=i + 1) for i in range(STEPS)] + [Kill(change=i + 1) for i in range(changes)]


def sample(moments: Sequence[Kill], points: int, seed: int) -> list[Kill]:
    """A third of the moments between changes, and two thirds within them, or as many as there are."""
    rng = random.Random(seed)
    steps = [kill for kill in moments if kill.step is not None]
    changes = [kill for kill in moments if kill.change is not None]
    return rng.sample(steps, points // 3) + rng.sample(changes, points - points // 3)


def try_moment(bench: Bench, run: Path, kill: Kill, whole: Path) -> str:
    """Kill a run, let it go on, and say what is wrong with what it leaves; nothing if all is well."""
    codes = bench.run(run, kill=kill)
    if codes[kill.rank] != KILLED:
        return f"was not killed: exit codes {codes}\n{tail(run)}"
    codes = bench.run(run, resume=True)
    if any(codes):
        return f"did not go on: exit codes {codes}\n{tail(run)}"
    return ", ".join(differences(run, whole))


def tail(run: Path) -> str:
    """The end of what a run has said."""
    return run.with_suffix(".log").read_text(encoding="utf-8")[-1500:]


def name_of(kill: Kill, changes: Sequence[str]) -> str:
    """A moment, and what was about to happen."""
    return f"{kill}" + (f" ({changes[kill.change - 1]})" if kill.change is not None else "")


def say(text: str) -> None:
    """Progress."""
    sys.stderr.write(text)
    sys.stderr.flush()


if __name__ == "__main__":
    main()
