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
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from cpu.memory import in_fresh_processes, train_alone
from cpu.products import gemm_rate, time_products
from cpu.report import write_report
from cpu.script import WARMUP_STEPS, keep, measured_batches, results_folder, tell
from cpu.sides import OURS, RUNGS, SIDES, TRL
from cpu.turns import alternate
from cpu.workload import DATASETS, SIZES


def run(dataset: str, options: argparse.Namespace) -> dict[str, Any]:
    """Steps of all sides in turn, then steps of ours with their products alone."""
    workload, measured = measured_batches(dataset, options.size, options.steps)
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
    measured = measured_batches(dataset, options.size, options.steps)[1]
    batch = measured.batches([measured.largest()])
    given = ["--threads", str(options.threads), *(["--smoke"] if options.size == "smoke" else [])]
    sides = {name: side for name, side in SIDES.items() if name in (options.sides or SIDES)}
    found = in_fresh_processes(Path(__file__), sides, batch, given, tell)
    return {"batches": batch.describe(), "sides": found}


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
        measuring.add_argument(
            "--sides", nargs="+", choices=SIDES, help="default: all; of run, all but variants"
        )
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


def main() -> None:
    options = parse()
    if options.verb == "side":
        torch.set_num_threads(options.threads)
        train_alone(SIDES[options.name], SIZES[options.size], options.folder)
        return
    results = results_folder(options.results, is_trial=getattr(options, "size", "full") != "full")
    if options.verb != "table":
        torch.set_num_threads(options.threads)
        measure = {"run": run, "memory": memory}[options.verb]
        for dataset in options.datasets:
            tell(f"{dataset}: {options.verb}")
            path = results / f"engine-{dataset}-{options.verb}.json"
            keep(path, measure(dataset, options), options.size, options.threads)
    elif not any(results.glob("engine-*.json")):
        sys.exit(f"there are no results in {results}")
    print(write_report(results))


if __name__ == "__main__":
    main()
