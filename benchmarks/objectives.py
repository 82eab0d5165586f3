#!/usr/bin/env python3
"""All objectives on the same pairs with the same budget, each with its own best learning rate.

    python benchmarks/objectives.py run alpaca      # 800 judgements of AlpacaEval, short pairs
    python benchmarks/objectives.py run hh          # 1,000 pairs of HH harmless
    python benchmarks/objectives.py speed hh        # pairs/s and memory of each, on an otherwise idle machine
    python benchmarks/objectives.py table           # learning rates, results and speed, as Markdown

The model is `base6m`.  The budget is one gradient visit per pair, all phases included: what starts from a
supervised model spends half of it on that.  The learning rate is the one with the lowest loss of the
objective itself on held-out pairs of the training file, after a short run; the table is made of three seeds,
on pairs of the evaluation file.  Data and model are those of `../shared` (or $ORPO_SHARED).  Results are kept
in benchmarks/results, and a run that is there is not repeated.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = Path(os.environ.get("ORPO_SHARED", ROOT.parent / "shared"))
RESULTS = ROOT / "benchmarks" / "results"
MODEL = SHARED / "models" / "base6m"

SEEDS = (1, 2, 3)
GRID = (3e-5, 1e-4, 3e-4, 1e-3, 3e-3)
PAIRS = {"alpaca": 800, "hh": 1000}
BATCH = 16
SLICE = 10
"""Optimizer steps of a run that a learning rate is chosen by."""

VALIDATION = 100
"""Pairs that it is chosen on."""

ALPACA_CHARACTERS = 1200
"""Most characters of both outputs together: the short pairs, so that all runs fit into two hours."""

Row = dict[str, str]
Record = dict[str, Any]


@dataclass(frozen=True)
class System:
    """A way to spend the budget."""

    objective: dict[str, Any]

    from_sft: bool = False
    """Half of the budget is spent on supervised fine-tuning first."""

    rows_per_pair: int = 1

    forward_passes: int = 0
    """Passes without gradient over what is trained on, of the policy and the reference."""


SYSTEMS = {
    "sft": System({"name": "sft"}),
    "orpo": System({"name": "orpo", "lambda": 0.1}),
    "dpo": System({"name": "dpo", "beta": 0.1}, from_sft=True, forward_passes=1),
    "ipo": System({"name": "ipo", "beta": 0.1}, from_sft=True, forward_passes=1),
    "simpo": System({"name": "simpo", "beta": 2.0, "gamma_beta_ratio": 0.5}, from_sft=True),
    "kto": System({"name": "kto", "beta": 0.1}, from_sft=True, rows_per_pair=2, forward_passes=3),
    "reward": System({"name": "reward"}),
}


@dataclass
class Experiment:
    """The runs on one data set, kept in a file."""

    data: str
    runs: dict[str, Record] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return RESULTS / f"objectives-{self.data}.json"

    @classmethod
    def of(cls, data: str) -> Experiment:
        experiment = cls(data)
        if experiment.path.exists():
            experiment.runs = json.loads(experiment.path.read_text(encoding="utf-8"))["runs"]
        return experiment

    @property
    def steps(self) -> int:
        """Optimizer steps of the whole budget."""
        return math.ceil(PAIRS[self.data] / BATCH)

    def keep(self, key: str, record: Record) -> None:
        self.runs[key] = record
        text = json.dumps({"runs": self.runs}, indent=1) + "\n"
        self.path.write_text(text, encoding="utf-8")

    def rate(self, name: str) -> float:
        """The learning rate with the lowest validation loss."""
        return min(GRID, key=lambda rate: self.validation_loss(name, rate))

    def validation_loss(self, name: str, rate: float) -> float:
        record = self.runs[f"{name} grid {rate:g}"]
        return record["eval"]["last"]["loss"] if "eval" in record else math.inf


def run(data: str, names: list[str], scratch: Path) -> None:
    """All runs of a data set that are not there yet, supervised ones first: others start from them."""
    experiment = Experiment.of(data)
    train_rows, validation_rows, eval_rows = rows_of(data)
    for name in names:
        system = SYSTEMS[name]
        start = MODEL
        if system.from_sft:
            start = sft_model(experiment, train_rows, eval_rows, SEEDS[0], scratch)
        for rate in GRID:
            key = f"{name} grid {rate:g}"
            if key not in experiment.runs:
                outcome = fit(start, system, rate, 0, SLICE, train_rows, validation_rows, scratch / "run")
                experiment.keep(key, outcome)
        rate = experiment.rate(name)
        for seed in SEEDS:
            key = f"{name} seed {seed}"
            if key in experiment.runs:
                continue
            steps, start = experiment.steps, MODEL
            if system.from_sft:
                start = sft_model(experiment, train_rows, eval_rows, seed, scratch)
                steps -= steps // 2
            outcome = fit(start, system, rate, seed + 100, steps, train_rows, eval_rows, scratch / "run")
            experiment.keep(key, outcome)


def sft_model(
    experiment: Experiment, train_rows: list[Row], eval_rows: list[Row], seed: int, scratch: Path
) -> Path:
    """A model that half of the budget was spent on."""
    output = scratch / f"{experiment.data}-sft-half-{seed}"
    if not (output / "model").exists():
        rate = experiment.rate("sft")
        outcome = fit(MODEL, SYSTEMS["sft"], rate, seed, experiment.steps // 2, train_rows, eval_rows, output)
        experiment.keep(f"half sft seed {seed}", outcome)
    return output / "model"


def fit(
    model: Path,
    system: System,
    rate: float,
    seed: int,
    steps: int,
    train_rows: list[Row],
    eval_rows: list[Row],
    output: Path,
) -> Record:
    """One run, and what is kept of it."""
    from rich.console import Console

    from orpo import train
    from orpo.errors import NumericsError

    shutil.rmtree(output, ignore_errors=True)
    config = {
        "model": str(model),
        "data": {"train": "in memory", "eval": "in memory", "max_length": 512},
        "objective": system.objective,
        "training": {
            "batch_size": BATCH * system.rows_per_pair,
            "learning_rate": rate,
            "max_steps": steps,
            "seed": seed,
            "log_every": 5,
            "max_tokens": 4096,
            "precision": "bfloat16",
        },
        "output": str(output),
    }
    cpu = time.process_time()
    try:
        result = train(config, train_rows=train_rows, eval_rows=eval_rows, console=Console(stderr=True))
    except NumericsError as error:
        return {"learning_rate": rate, "failed": error.message, "cpu_seconds": time.process_time() - cpu}
    timing = [json.loads(line) for line in (result.path / "timing.jsonl").read_text().splitlines()]
    return {
        "learning_rate": rate,
        "steps": steps,
        "eval": result.summary["eval"],
        "tokens": round(sum(row["tokens_per_second"] * row["seconds"] for row in timing)),
        "seconds": round(sum(row["seconds"] for row in timing), 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
    }


def rows_of(data: str) -> tuple[list[Row], list[Row], list[Row]]:
    """Training, validation and evaluation rows; no prompt of validation is trained on."""
    read = alpaca_rows if data == "alpaca" else hh_rows
    rows = list(read("train.jsonl"))
    chosen, rest = rows[: PAIRS[data]], rows[PAIRS[data] :]
    seen = {prompt_of(row) for row in chosen}
    validation = [row for row in rest if prompt_of(row) not in seen][:VALIDATION]
    return chosen, validation, list(read("eval.jsonl"))


def prompt_of(row: Row) -> str:
    return row.get("prompt") or row["chosen"].rpartition("\n\nAssistant:")[0]


def alpaca_rows(name: str, characters: int = ALPACA_CHARACTERS) -> Iterator[Row]:
    """Judgements as plain-string pairs in the text format that base6m was pretrained on.

    Args:
        name: of the file.
        characters: the most that both outputs together have.
    """
    with (SHARED / "data/alpaca_eval" / name).open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            outputs = (row["output_1"], row["output_2"])
            if sum(map(len, outputs)) <= characters:
                chosen, rejected = outputs if row["preference"] < 1.5 else outputs[::-1]
                yield {"prompt": row["instruction"] + "\n\n", "chosen": chosen, "rejected": rejected}


def hh_rows(name: str) -> Iterator[Row]:
    with (SHARED / "data/hh_rlhf_harmless" / name).open(encoding="utf-8") as file:
        for line in file:
            row = json.loads(line)
            yield {"chosen": row["chosen"], "rejected": row["rejected"]}


def table(data: str) -> None:
    """What the learning rates were chosen by, and what came of the budget."""
    experiment = Experiment.of(data)
    names = [name for name in SYSTEMS if f"{name} seed {SEEDS[-1]}" in experiment.runs]
    print(f"## {data}: validation loss of the objective itself after {SLICE} steps\n")
    print("| objective | " + " | ".join(f"{rate:g}" for rate in GRID) + " |")
    print("|---" * (len(GRID) + 1) + "|")
    for name in names:
        best = experiment.rate(name)
        losses = {rate: experiment.validation_loss(name, rate) for rate in GRID}
        cells = [f"**{loss:.4f}**" if rate == best else f"{loss:.4f}" for rate, loss in losses.items()]
        print(f"| {name} | " + " | ".join(cells) + " |")
    print(f"\n## {data}: {PAIRS[data]} pair-visits, {len(SEEDS)} seeds, mean ± standard deviation\n")
    print(
        "| objective | accuracy by log-prob | by own reward | chosen, change | rejected, change "
        "| margin, change | NLL | TFLOP |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name in names:
        columns = list(zip(*(results(experiment, name, seed) for seed in SEEDS), strict=True))
        print(f"| {name} | " + " | ".join(map(cell, columns)) + " |")
    minutes = sum(record["cpu_seconds"] for record in experiment.runs.values()) / 60
    print(f"\n{len(experiment.runs)} runs, {minutes:.0f} CPU-minutes\n")


def results(experiment: Experiment, name: str, seed: int) -> tuple[float | None, ...]:
    system, record = SYSTEMS[name], experiment.runs[f"{name} seed {seed}"]
    phases = [experiment.runs[f"half sft seed {seed}"]] if system.from_sft else []
    before, after = (phases or [record])[0]["eval"]["first"], record["eval"]["last"]
    visited = sum(phase["tokens"] for phase in phases) + record["tokens"]
    flops = PARAMETERS * (6 * visited + 2 * system.forward_passes * record["tokens"])
    if "logps/chosen" not in after:  # a reward model predicts no tokens
        return (None, after["rewards/accuracies"], None, None, None, None, flops / 1e12)
    chosen, rejected = (after[key] - before[key] for key in ("logps/chosen", "logps/rejected"))
    return (
        after["logps/accuracies"],
        after["rewards/accuracies"],
        chosen,
        rejected,
        chosen - rejected,
        -after["logps/chosen"],
        flops / 1e12,
    )


PARAMETERS = 5_999_872
"""Of base6m, embeddings included: they are the head too.  A token costs 6 operations per parameter."""


def cell(values: tuple[float | None, ...]) -> str:
    known = [value for value in values if value is not None]
    if not known:
        return ""
    spread = statistics.stdev(known) if len(known) > 1 else 0.0
    return f"{statistics.mean(known):.3f} ± {spread:.3f}"


def speed(data: str) -> None:
    """Steps of each objective in a process of its own, one after the other."""
    found: dict[str, Record] = {}
    for name in SYSTEMS:
        command = [sys.executable, __file__, "one", data, name]
        output = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        found[name] = json.loads(output.splitlines()[-1])
        print(name, found[name], file=sys.stderr)
    speed_file(data).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


def speed_file(data: str) -> Path:
    return RESULTS / f"objectives-speed-{data}.json"


def one(data: str, name: str) -> None:
    """Steps of one objective: pairs per second after the first log, and the process's peak of memory."""
    train_rows, validation_rows, _ = rows_of(data)
    with TemporaryDirectory() as folder:
        output = Path(folder) / "run"
        fit(MODEL, SYSTEMS[name], 1e-4, 0, SLICE, train_rows, validation_rows[:BATCH], output)
        rows = [json.loads(line) for line in (output / "timing.jsonl").read_text().splitlines()]
    pairs_per_second = rows[-1]["pairs_per_second"] / SYSTEMS[name].rows_per_pair
    record = {
        "pairs_per_second": round(pairs_per_second, 2),
        "peak_memory_bytes": rows[-1]["peak_memory_bytes"],
    }
    print(json.dumps(record))


def speed_table(data: str) -> None:
    if speed_file(data).exists():
        found = json.loads(speed_file(data).read_text(encoding="utf-8"))
        print(f"## {data}: steps of {BATCH} pairs, each objective in a process of its own\n")
        print("| objective | pairs/s | peak memory of the process, MiB |\n|---|---|---|")
        for name, row in found.items():
            print(f"| {name} | {row['pairs_per_second']:.1f} | {row['peak_memory_bytes'] / 2**20:,.0f} |")
        print()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("data", choices=list(PAIRS))
    runs.add_argument("--objectives", nargs="+", choices=list(SYSTEMS), default=list(SYSTEMS))
    runs.add_argument("--scratch", type=Path, required=True, help="folder for run directories")
    for verb in ("speed", "one"):
        measured = verbs.add_parser(verb, help=None if verb == "speed" else "what `speed` starts")
        measured.add_argument("data", choices=list(PAIRS))
        if verb == "one":
            measured.add_argument("name", choices=list(SYSTEMS))
    verbs.add_parser("table")
    arguments = parser.parse_args()
    if arguments.verb == "speed":
        speed(arguments.data)
        return
    if arguments.verb == "one":
        one(arguments.data, arguments.name)
        return
    if arguments.verb == "run":
        run(arguments.data, arguments.objectives, arguments.scratch)
        return
    for data in PAIRS:
        table(data)
        speed_table(data)


if __name__ == "__main__":
    main()
