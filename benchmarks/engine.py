#!/usr/bin/env python3
"""Ours and TRL's ORPOTrainer on the same processor: time, share of it that is matrix products, memory.

    python benchmarks/engine.py run               # both data sets, about 8 minutes each
    python benchmarks/engine.py run hh --sides trl ours --steps 2
    python benchmarks/engine.py memory            # a fresh process per side, some minutes per data set
    python benchmarks/engine.py table             # Markdown and a picture from the results that are there

`--smoke` does the same in seconds, on a tiny model, and writes to a temporary folder.  Data, configuration
and tokenizer are those of `../shared` (or $ORPO_SHARED); benchmarks/README.md says what is measured and how.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cpu.environment import environment
from cpu.memory import STEPS as MEMORY_STEPS
from cpu.memory import MemoryClock
from cpu.products import gemm_rate, time_products
from cpu.report import write_report
from cpu.sides import OPTIMISATION, OURS, RUNGS, SIDES, TRL
from cpu.turns import alternate
from cpu.workload import DATASETS, SIZES, Workload, read_workload

RESULTS = Path(__file__).parent / "results"
WARMUP_STEPS = 1


def tell(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def measured_batches(dataset: str, options: argparse.Namespace) -> tuple[Workload, Workload]:
    """The batches with those of the warm-up, and without."""
    workload = read_workload(dataset, SIZES[options.size], WARMUP_STEPS + options.steps)
    return workload, workload.part(WARMUP_STEPS, len(workload))


def run(dataset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Steps of all sides in turn, then steps of ours with their products alone."""
    workload, measured = measured_batches(dataset, options)
    names = options.sides or [*OURS, *RUNGS, *TRL]
    sides = alternate({name: side for name, side in SIDES.items() if name in names}, workload, tell)
    tell("our steps, and their matrix products alone")
    return {
        "batches": measured.describe(),
        "sides": {
            name: {what: values[WARMUP_STEPS:] for what, values in asdict(side).items()}
            for name, side in sides.items()
        },
        "products": asdict(time_products(measured)),
        "gemm_flops_per_second": gemm_rate(),
    }


def memory(dataset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Resident memory of each side in a process of its own, on the largest of the measured batches."""
    _, measured = measured_batches(dataset, options)
    tokens = [batch["packed"] for batch in measured.describe()]
    largest = tokens.index(max(tokens))
    batch = measured.part(largest, largest + 1)
    sides: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        batch.save(Path(folder) / "batch.json")
        for name in options.sides or SIDES:
            command = [sys.executable, __file__, "side", name, folder, "--threads", str(options.threads)]
            subprocess.run([*command, *(["--smoke"] if options.size == "smoke" else [])], check=True)
            sides[name] = json.loads((Path(folder) / "resident.json").read_text(encoding="utf-8"))
            tell(f"{name}: {max(sides[name]['peak']) / 2**20:,.0f} MiB at most")
    return {"batches": batch.describe(), "sides": sides}


def side(options: argparse.Namespace) -> None:
    """The process of one side that `memory` starts."""
    workload = Workload.load(SIZES[options.size], options.folder / "batch.json")
    clock = MemoryClock()
    SIDES[options.name].train(workload, MEMORY_STEPS, clock)
    (options.folder / "resident.json").write_text(json.dumps(asdict(clock.resident)), encoding="utf-8")


def keep(path: Path, record: dict[str, Any], options: argparse.Namespace) -> None:
    """Write a result, with all that it depends on."""
    record = {
        "environment": environment(options.threads),
        "settings": asdict(SIZES[options.size]) | OPTIMISATION | {"warmup_steps": WARMUP_STEPS},
        **record,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    tell(f"wrote {path}")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--smoke", dest="size", action="store_const", const="smoke", default="full")
    common.add_argument("--threads", type=int, default=2)
    for verb, what in (("run", "time"), ("memory", "peak memory")):
        measuring = verbs.add_parser(verb, parents=[common], help=f"measure {what}")
        measuring.add_argument("datasets", nargs="*", metavar="{hh,alpaca}", default=list(DATASETS))
        measuring.add_argument("--steps", type=int, default=6, help="measured optimizer steps of each side")
        measuring.add_argument("--sides", nargs="+", choices=SIDES, help="default: all")
    verbs.add_parser("table", help="make tables and picture of the results")
    for verb in verbs.choices.values():
        verb.add_argument("--results", type=Path, help="folder of the results")
    one = verbs.add_parser("side", parents=[common], help="a process of memory")
    one.add_argument("name", choices=SIDES)
    one.add_argument("folder", type=Path)
    options = parser.parse_args()
    if unknown := set(getattr(options, "datasets", ())) - set(DATASETS):
        parser.error(f"unknown data set {', '.join(sorted(unknown))}; there are {', '.join(DATASETS)}")
    return options


def results_folder(options: argparse.Namespace) -> Path:
    """The folder that was asked for; else that of the repository, which a trial run leaves alone."""
    if options.results is not None:
        return options.results
    is_trial = getattr(options, "size", "full") != "full"
    return Path(tempfile.mkdtemp(prefix="orpo-engine-")) if is_trial else RESULTS


def main() -> None:
    options = parse()
    if options.verb == "side":
        torch.set_num_threads(options.threads)
        side(options)
        return
    results = results_folder(options)
    if options.verb != "table":
        torch.set_num_threads(options.threads)
        measure = {"run": run, "memory": memory}[options.verb]
        for dataset in options.datasets:
            tell(f"{dataset}: {options.verb}")
            keep(results / f"engine-{dataset}-{options.verb}.json", measure(dataset, options), options)
    elif not any(results.glob("engine-*.json")):
        sys.exit(f"there are no results in {results}")
    print(write_report(results))


if __name__ == "__main__":
    main()
