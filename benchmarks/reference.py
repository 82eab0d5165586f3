#!/usr/bin/env python3
"""What a reference model costs: ORPO, which has none, beside DPO with cached scores, or with it in memory.

    python benchmarks/reference.py run            # some minutes; Linux only
    python benchmarks/reference.py run --smoke    # the same in seconds, on a tiny model, kept elsewhere
    python benchmarks/reference.py table

All three train on the same pairs of HH harmless with the same engine, a step of each in turn; then each in a
fresh process, for its memory, on the largest of these batches.  Scoring once under the reference is timed
apart, on the pairs of the measured steps.  benchmarks/README.md says what everything is measured with.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
from cpu.memory import in_fresh_processes, train_alone
from cpu.ours import Ours, Side, scored_by_reference
from cpu.report import MIB, table
from cpu.script import WARMUP_STEPS, keep, measured_batches, results_folder, tell
from cpu.turns import alternate
from cpu.workload import SIZES, Workload

from orpo.modeling.engine import build_scorer
from orpo.objectives import DPO
from orpo.ops.distributed import World

ORPO, CACHED, LIVE = "ORPO", "DPO, reference scored once", "DPO, reference in memory"

SIDES: dict[str, Side] = {ORPO: Ours(), CACHED: Ours(DPO()), LIVE: Ours(DPO(), reference="live")}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Steps of all sides in turn, the scoring alone, and memory."""
    workload, measured = measured_batches("hh", options.size, options.steps)
    sides = alternate(SIDES, workload, tell)
    tell("scoring under the reference")
    scoring = time_scoring(workload, measured)
    given = ["--threads", str(options.threads), *(["--smoke"] if options.size == "smoke" else [])]
    largest = measured.batches([measured.largest()])
    return {
        "batches": measured.describe(),
        "sides": {
            name: {what: values[WARMUP_STEPS:] for what, values in asdict(side).items()}
            for name, side in sides.items()
        },
        "scoring": {"pairs": len(measured.pairs), "seconds": scoring},
        "memory": {
            "batches": largest.describe(),
            "sides": in_fresh_processes(Path(__file__), SIDES, largest, given, tell),
        },
    }


def time_scoring(workload: Workload, measured: Workload) -> float:
    """Seconds that the pairs of the measured steps take, all of them once."""
    world = World(0, 1, torch.device("cpu"))
    scorer = build_scorer(workload.new_model(), layout="auto", max_length=workload.size.max_length)
    scored_by_reference(workload.batches(range(WARMUP_STEPS)), scorer, world)
    started = time.perf_counter()
    scored_by_reference(measured, scorer, world)
    return time.perf_counter() - started


def report(record: dict[str, Any]) -> str:
    """A column per side; what is `×` is over ORPO."""
    seconds = {name: record["sides"][name]["seconds"] for name in SIDES}
    scoring = dict.fromkeys(SIDES, 0.0) | {CACHED: record["scoring"]["seconds"]}
    once = {name: sum(seconds[name]) + scoring[name] for name in SIDES}
    peaks = {name: above_start(record["memory"]["sides"][name]) for name in SIDES}
    slower = {
        name: median(ours / base for ours, base in zip(seconds[name], seconds[ORPO], strict=True))
        for name in SIDES
    }
    rows: dict[str, dict[str, str]] = {
        "seconds per step, median": {name: f"{median(seconds[name]):.3f}" for name in SIDES},
        "×, median of the batches": {name: f"{slower[name]:.2f}" for name in SIDES},
        "seconds of scoring per step, once": {
            name: f"{scoring[name] / len(seconds[name]):.3f}" if scoring[name] else "–" for name in SIDES
        },
        "×, steps and scoring, one epoch": {name: f"{once[name] / once[ORPO]:.2f}" for name in SIDES},
        "peak MiB above what was resident without a model": {
            name: f"{peaks[name] / MIB:,.0f}" for name in SIDES
        },
        "×": {name: f"{peaks[name] / peaks[ORPO]:.2f}" for name in SIDES},
    }
    return table(["", *SIDES], [[what, *cells.values()] for what, cells in rows.items()])


def above_start(resident: dict[str, Any]) -> int:
    """Bytes of the highest peak, loading and scoring included, above what there was before any model."""
    return max(resident["earlier"], *resident["peak"]) - resident["start"]


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--smoke", dest="size", action="store_const", const="smoke", default="full")
    common.add_argument("--threads", type=int, default=2)
    running = verbs.add_parser("run", parents=[common], help="measure time and memory")
    running.add_argument("--steps", type=int, default=6, help="measured optimizer steps of each side")
    tabulating = verbs.add_parser("table", help="the table of the results that are there")
    for verb in (running, tabulating):
        verb.add_argument("--results", type=Path, help="folder of the results")
    one = verbs.add_parser("side", parents=[common], help="a process of one side")
    one.add_argument("name", choices=SIDES)
    one.add_argument("folder", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.verb == "side":
        torch.set_num_threads(options.threads)
        train_alone(SIDES[options.name], SIZES[options.size], options.folder)
        return
    is_trial = getattr(options, "size", "full") != "full"
    path = results_folder(options.results, is_trial=is_trial) / "reference-hh.json"
    if options.verb == "run":
        torch.set_num_threads(options.threads)
        keep(path, run(options), options.size, options.threads)
    print(report(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
