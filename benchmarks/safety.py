#!/usr/bin/env python3
"""What safety costs: the guard against numbers that are not finite, and checkpoints with their hashes.

    python benchmarks/safety.py run            # a minute or two
    python benchmarks/safety.py run --smoke    # the same in seconds, on a tiny model, kept elsewhere
    python benchmarks/safety.py table

`orpo.train` on pairs of HH harmless at the shape of the other CPU benchmarks, 8 pairs per step, with a clock
around the guard's work, each save, the hashing in it, and the check of a checkpoint that resuming makes.
All of that is work of the host that a CPU does not overlap with the step, so its time is what it costs.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import torch
from cpu.report import table
from cpu.script import keep, results_folder, tell
from cpu.workload import DATASETS, SHARED, SIZES
from transformers import TrainerCallback

import orpo.rundir.checkpoints
from orpo.run import train
from orpo.rundir import RunDirectory
from orpo.training.checkpoint.writer import CheckpointWriter
from orpo.training.guard import FiniteGuard

SAVES = 3
STEPS_OF_A_RUN = 500
SAVES_OF_A_RUN = 10
"""What `checkpoint_every: auto` makes of any run."""


class StepClock(TrainerCallback):
    """Seconds of each step: forward, backward, clipping, the guard and the update."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._begun = 0.0

    def on_step_begin(self, *_: Any, **__: Any) -> None:
        self._begun = time.perf_counter()

    def on_step_end(self, *_: Any, **__: Any) -> None:
        self.seconds.append(time.perf_counter() - self._begun)


def clocked(owner: Any, name: str, into: list[float]) -> None:
    """Note the seconds of every call of a function from now on."""
    call: Callable[..., Any] = getattr(owner, name)

    @wraps(call)
    def timed(*arguments: Any, **options: Any) -> Any:
        begun = time.perf_counter()
        try:
            return call(*arguments, **options)
        finally:
            into.append(time.perf_counter() - begun)

    setattr(owner, name, timed)


def run(size: str, steps: int) -> dict[str, Any]:
    """Train, with a save after every third of the steps."""
    shape = SIZES[size]
    judging, verdicts, saving, hashing = ([] for _ in range(4))
    clocked(FiniteGuard, "judge", judging)
    clocked(FiniteGuard, "verdict", verdicts)
    clocked(CheckpointWriter, "save", saving)
    clocked(orpo.rundir.checkpoints, "sha256_of", hashing)
    steps_taken = StepClock()
    with TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        config = {
            "model": {"name": str(SHARED / "models" / shape.model), "random_init": True},
            "data": {
                "train": str(SHARED / "data" / DATASETS["hh"] / "train.jsonl"),
                "max_length": shape.max_length,
                "template": "none",
                "cache": f"{folder}/cache",
            },
            "training": {
                "batch_size": shape.batch_size,
                "max_steps": steps,
                "max_tokens": 10**6,
                "checkpoint_every": steps // SAVES,
                "precision": "float32",
            },
            "output": str(output),
        }
        train(config, callbacks=[steps_taken])
        hashed = sum(hashing)
        checkpoints = RunDirectory(output).checkpoints
        begun = time.perf_counter()
        newest = checkpoints.newest()
        checked = time.perf_counter() - begun
        assert newest is not None
        bytes_saved = sum(file.stat().st_size for file in newest.path.iterdir())
    return {
        "steps": steps_taken.seconds[1:],
        "guard": [one + other for one, other in zip(judging, verdicts[1:], strict=False)][1:],
        "saves": saving,
        "hashing_per_save": hashed / len(saving),
        "check": checked,
        "bytes": bytes_saved,
    }


def report(record: dict[str, Any]) -> str:
    """A row per cost, and its share of a run's time."""
    step, guard, save = (median(record[name]) for name in ("steps", "guard", "saves"))
    whole = STEPS_OF_A_RUN * step

    def row(what: str, seconds: float, of_a_run: float) -> list[str]:
        return [what, f"{1000 * seconds:,.1f}", f"{100 * of_a_run / whole:.2f} %"]

    return table(
        ["", "ms, median", f"of a run of {STEPS_OF_A_RUN} steps"],
        [
            ["a step", f"{1000 * step:,.1f}", ""],
            row("the guard, every step", guard, STEPS_OF_A_RUN * guard),
            row(
                f"a save ({record['bytes'] / 1e6:,.0f} MB), {SAVES_OF_A_RUN} times",
                save,
                SAVES_OF_A_RUN * save,
            ),
            row("of it the hashes", record["hashing_per_save"], SAVES_OF_A_RUN * record["hashing_per_save"]),
            row("the check of a checkpoint, once, when resuming", record["check"], record["check"]),
        ],
    )


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="measure")
    running.add_argument("--smoke", dest="size", action="store_const", const="smoke", default="full")
    running.add_argument("--threads", type=int, default=2)
    running.add_argument("--steps", type=int, default=12)
    for verb in (running, verbs.add_parser("table", help="the table of the result that is there")):
        verb.add_argument("--results", type=Path, help="folder of the result")
    return parser.parse_args()


def main() -> None:
    options = parse()
    size = getattr(options, "size", "full")
    path = results_folder(options.results, is_trial=size != "full") / "safety.json"
    if options.verb == "run":
        torch.set_num_threads(options.threads)
        tell("training")
        keep(path, run(size, options.steps), size, options.threads)
    print(report(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
