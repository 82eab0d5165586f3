#!/usr/bin/env python3
"""How evenly tokens are shared out over processes, simulated on the lengths of real pairs.

    python benchmarks/balance.py run      # seconds
    python benchmarks/balance.py table

An optimizer step ends when the process with most tokens is done, so what the others wait is the most tokens
of a process over the mean, minus one.  Ours is `orpo.data.batching.split_batch`.  Beside it two samplers that
give each process as many pairs: PyTorch's DistributedSampler, and transformers' own that groups by length: it
sorts within windows of 50 batches, and so changes which pairs a batch has.  Each process pads its pairs to
the longest of them there; "not padded" counts their tokens alone.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
from cpu.report import table
from cpu.script import RESULTS, tell
from cpu.workload import SEED, SIZES, read_workload
from numpy.typing import NDArray
from torch.utils.data import DistributedSampler
from transformers.trainer_pt_utils import DistributedLengthGroupedSampler

from orpo.batch import Layout
from orpo.data.batching import (
    Indices,
    Lengths,
    branch_lengths,
    epoch_order,
    global_batches,
    split_batch,
    tokens_held,
)

RANKS = 8
BATCH_SIZE = 64
BUDGETS = (2048, 4096, 8192, 65_536)
EPOCHS = 4

Held = NDArray[np.int64]
"""(ranks, forward passes) tokens that the processes hold in a step."""

DATASETS = {"hh": "HH harmless", "alpaca": "AlpacaEval"}


def ours(lengths: Lengths, layout: Layout, max_tokens: int) -> Iterator[Held]:
    """The steps of `orpo train`."""
    for indices in _whole_batches(lengths):
        batch = lengths[indices]
        ranks = split_batch(batch, layout=layout, world_size=RANKS, max_tokens=max_tokens)
        yield np.array([[tokens_held(batch[list(plan.indices)], layout) for plan in rank] for rank in ranks])


def _whole_batches(lengths: Lengths) -> Iterator[Indices]:
    for epoch in range(EPOCHS):
        order = epoch_order(len(lengths), seed=SEED, epoch=epoch, shuffle=True)
        yield from (batch for batch in global_batches(order, BATCH_SIZE) if len(batch) == BATCH_SIZE)


def usual(lengths: Lengths, sampler: str, *, pads: bool) -> Iterator[Held]:
    """The steps of a sampler that gives each rank as many pairs, which are one forward pass."""
    size = BATCH_SIZE // RANKS
    for epoch in range(EPOCHS):
        orders = [_order(lengths, sampler, rank, epoch) for rank in range(RANKS)]
        for start in range(0, len(orders[0]) - size + 1, size):
            shares = [lengths[order[start : start + size]] for order in orders]
            yield np.array([[_tokens(share, pads=pads)] for share in shares])


def _order(lengths: Lengths, sampler: str, rank: int, epoch: int) -> list[int]:
    order = (
        DistributedSampler(range(len(lengths)), RANKS, rank, seed=SEED)  # type: ignore[arg-type]  it takes the length
        if sampler == "random"
        else DistributedLengthGroupedSampler(
            BATCH_SIZE // RANKS,
            num_replicas=RANKS,
            rank=rank,
            seed=SEED,
            lengths=branch_lengths(lengths).tolist(),
        )
    )
    order.set_epoch(epoch)
    return list(order)


def _tokens(lengths: Lengths, *, pads: bool) -> int:
    return tokens_held(lengths, Layout.PADDED if pads else Layout.PACKED)


def summary(steps: Iterator[Held]) -> dict[str, Any]:
    """What the processes wait for, in shares of the mean work."""
    held = list(steps)
    by_step = [step.sum(axis=1) for step in held]
    waits = [float(loads.max() / loads.mean() - 1) for loads in by_step]
    # Where parameters are sharded, processes wait for one another in every forward pass, not once per step.
    passes = [float(step.max(axis=0).sum() / step.mean(axis=0).sum() - 1) for step in held]
    return {
        "steps": len(held),
        "mean": mean(waits),
        "worst": max(waits),
        "mean_by_pass": mean(passes),
        "tokens": mean(float(loads.sum()) for loads in by_step),
        "passes": mean(step.shape[1] for step in held),
    }


def run() -> dict[str, Any]:
    record: dict[str, Any] = {"ranks": RANKS, "batch_size": BATCH_SIZE, "epochs": EPOCHS}
    for dataset in DATASETS:
        tell(dataset)
        lengths = read_workload(dataset, SIZES["full"], 10**6).pairs.lengths
        rows = {
            f"ours, {layout.value}, {budget}": summary(ours(lengths, layout, budget))
            for layout in Layout
            for budget in BUDGETS
        }
        for sampler in ("random", "length-grouped"):
            for pads in (True, False):
                name = f"{sampler}, {'padded' if pads else 'not padded'}"
                rows[name] = summary(usual(lengths, sampler, pads=pads))
        record[dataset] = {"pairs": len(lengths), "sides": rows}
    return record


def report(record: dict[str, Any]) -> str:
    """A row per side and data set."""
    rows = [
        [
            title,
            side,
            f"{found['mean']:.2%}",
            f"{found['worst']:.2%}",
            f"{found['mean_by_pass']:.2%}",
            f"{found['passes']:.1f}",
            f"{found['tokens']:,.0f}",
        ]
        for dataset, title in DATASETS.items()
        for side, found in record[dataset]["sides"].items()
    ]
    return table(
        ["", "side", "mean", "worst step", "mean, by pass", "passes per process", "tokens of a step"], rows
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("verb", choices=("run", "table"))
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    path = options.results / "balance.json"
    if options.verb == "run":
        path.write_text(json.dumps(run(), indent=1) + "\n", encoding="utf-8")
    print(report(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
