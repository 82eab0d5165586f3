#!/usr/bin/env python3
"""How far training on several processes differs from training on one, also where a run changes between them.

    python benchmarks/invariance.py run            # minutes: 1, 2 and 4 processes on this machine's processor
    python benchmarks/invariance.py run --smoke    # 1 and 2 processes, a few steps, kept elsewhere
    python benchmarks/invariance.py table

Whole runs of `orpo.train` on the quickstart's model and pairs of uneven lengths, in batches of 13, of which
the last of an epoch is smaller, in micro-batches.  A tensor's figure is the norm of the difference of two
*changes* (from before training to after it) over the norm of the change on one process that shares nothing
out; shown is the largest of all tensors.  AdamW's epsilon is 0.1 and nothing is clipped: else both would
forgive a gradient that is wrong by a factor.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from cpu.environment import environment
from cpu.report import table as markdown
from cpu.script import RESULTS, tell
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import TrainerCallback

import orpo
from orpo.ops.distributed import join_world
from orpo.ops.sharded import whole
from orpo.quickstart.task import make_pairs
from orpo.run import train
from orpo.rundir import RunDirectory

PAIRS, BATCH = 58, 13
MODEL = Path(orpo.__file__).parent / "quickstart" / "model"
WEIGHTS = ("full", "LoRA")


@dataclass(frozen=True)
class Job:
    """A run, on some number of processes."""

    weights: str
    """One of `WEIGHTS`."""

    processes: int
    parallel: str

    after: str | None = None
    """The name of the job from whose middle it goes on."""

    @property
    def way(self) -> str:
        return f"{self.processes} x {self.parallel}"

    @property
    def name(self) -> str:
        return f"{self.weights}, {self.way}" + (f" after {self.after}" if self.after else "")

    def config(self, folder: Path, steps: int) -> dict[str, Any]:
        adapters = {"lora": {"r": 4, "alpha": 8.0}} if self.weights == "LoRA" else {}
        return {
            "model": {"name": str(MODEL), **adapters},
            "data": {"train": "in memory"},
            "objective": {"name": "orpo", "lambda": 0.25},
            "training": {
                "parallel": self.parallel,
                "batch_size": BATCH,
                "max_tokens": 300,
                "max_steps": steps,
                "learning_rate": 1e-2,
                "weight_decay": 0.1,
                "adam_epsilon": 0.1,
                "max_grad_norm": None,
                "log_every": 1,
                "checkpoint_every": steps // 2,
            },
            "output": str(folder / self.name),
        }


class WeightKeeper(TrainerCallback):
    """Writes the trained weights before and after training."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_begin(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        self._keep("start", state, about["model"])

    def on_train_end(self, args: Any, state: Any, control: Any, **about: Any) -> None:
        self._keep("end", state, about["model"])

    def _keep(self, moment: str, state: Any, model: Any) -> None:
        weights = {name: whole(p.detach()) for name, p in model.named_parameters() if p.requires_grad}
        if state.is_world_process_zero:
            save_file(weights, f"{self._path}.{moment}.safetensors")


def work(options: argparse.Namespace) -> None:
    """What each of several processes does: all runs of so many, one after the other."""
    rows = make_pairs(PAIRS, seed=1, split="train")
    with join_world(needs_group=True):
        for values in json.loads(options.jobs):
            job = Job(**values)
            config = job.config(options.folder, options.steps)
            keeper = WeightKeeper(options.folder / job.name)
            train(config, train_rows=rows, callbacks=[keeper], resume="auto" if job.after else None)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All runs, and how far each differs from that of one process without sharding."""
    sizes: list[int] = options.processes
    first = [
        Job(weights, size, parallel) for weights in WEIGHTS for size in sizes for parallel in ("ddp", "fsdp")
    ]
    plain = {job.weights: job for job in first if job.way == "1 x ddp"}
    most, middle = sizes[-1], sizes[len(sizes) // 2]
    changes = [
        (f"{most} x fsdp", middle, "fsdp"),
        (f"{middle} x fsdp", 1, "ddp"),
        ("1 x ddp", middle, "fsdp"),
        (f"{middle} x ddp", most, "fsdp"),
        (f"{most} x fsdp", middle, "ddp"),
    ]
    later = [
        Job(weights, size, parallel, after=f"{weights}, {before}")
        for weights in WEIGHTS
        for before, size, parallel in changes
    ]
    with tempfile.TemporaryDirectory(prefix="orpo-invariance-") as name:
        folder = Path(name)
        for jobs in (first, later):
            for job in jobs:
                if job.after:
                    _halve(folder / job.after, folder / job.name, options.steps)
            for size in sizes:
                tell(f"{size} processes, {'going on' if jobs is later else 'from the start'}")
                _on_processes(size, [job for job in jobs if job.processes == size], folder, options.steps)
        figures = [_figures(job, plain[job.weights], folder) for job in (*first, *later)]
    return {"steps": options.steps, "pairs": PAIRS, "batch_size": BATCH, "runs": figures}


def _halve(whole_run: Path, copied: Path, steps: int) -> None:
    """A copy of a run, as if it had ended in the middle."""
    shutil.copytree(whole_run, copied)
    shutil.rmtree(copied / "checkpoints" / f"step-{steps}")
    shutil.rmtree(copied / "model")
    (copied / "summary.json").unlink()


def _on_processes(count: int, jobs: Sequence[Job], folder: Path, steps: int) -> None:
    if not jobs:
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    told = json.dumps([asdict(job) for job in jobs])
    command = [
        sys.executable,
        __file__,
        "work",
        "--jobs",
        told,
        "--folder",
        str(folder),
        "--steps",
        str(steps),
    ]
    shared = {"WORLD_SIZE": str(count), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    processes = [
        subprocess.Popen(
            command,
            env=os.environ
            | shared
            | {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"},
        )
        for rank in range(count)
    ]
    codes = [process.wait() for process in processes]
    if any(codes):
        raise SystemExit(f"a run on {count} processes has failed")


def _figures(job: Job, plain: Job, folder: Path) -> dict[str, Any]:
    start = load_file(folder / f"{plain.name}.start.safetensors")
    end, expected = (load_file(folder / f"{one.name}.end.safetensors") for one in (job, plain))
    assert end.keys() == expected.keys() == start.keys()
    differences = {name: _relative(end[name], expected[name], start[name]) for name in start}
    worst = max(differences, key=differences.__getitem__)
    losses, expected_losses = (
        [row["loss"] for row in RunDirectory(folder / one.name).read_metrics("train")] for one in (job, plain)
    )
    by_loss = (abs(a - b) / b for a, b in zip(losses, expected_losses, strict=True))
    return {
        **asdict(job),
        "weights_difference": differences[worst],
        "worst_tensor": worst,
        "loss_difference": max(by_loss),
        "last_loss": losses[-1],
    }


def _relative(end: Tensor, expected: Tensor, start: Tensor) -> float:
    """The difference of two changes, relative to the second."""
    return ((end - expected).norm() / (expected - start).norm()).item()


def table(record: dict[str, Any]) -> str:
    """The figures in Markdown: a row for each way, two columns for each kind of weights."""
    rows: dict[str, dict[str, Any]] = {}
    for figures in record["runs"]:
        after = figures["after"]
        way = f"{figures['processes']} x {figures['parallel']}"
        if after:
            way = f"{after.partition(', ')[2]}, from the middle on {way}"
        rows.setdefault(way, {})[figures["weights"]] = figures
    heads = [f"{kind}: {what}" for kind in WEIGHTS for what in ("weights", "losses")]
    return markdown(
        ["processes", *heads],
        [
            [
                way,
                *(
                    f"{figures[kind][f'{what}_difference']:.1e}"
                    for kind in WEIGHTS
                    for what in ("weights", "loss")
                ),
            ]
            for way, figures in rows.items()
        ],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("what", choices=["run", "table", "work"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--results", type=Path, help="file; that of the repository unless it is a smoke test")
    parser.add_argument("--jobs", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    file: Path = options.results or RESULTS / "invariance.json"
    if options.what == "work":
        work(options)
    elif options.what == "table":
        print(table(json.loads(file.read_text(encoding="utf-8"))))
    else:
        if options.smoke:
            options.steps, options.processes = 4, [1, 2]
            file = options.results or Path(tempfile.mkdtemp(prefix="orpo-benchmark-")) / file.name
        record = {"environment": environment(threads=1), **run(options)}
        file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
        tell(f"wrote {file}")
        print(table(record))


if __name__ == "__main__":
    main()
