#!/usr/bin/env python3
"""Forward and backward pass of the output head by size, on this processor: fused beside whole logits.

    python benchmarks/head.py                # about 2 minutes; writes results/head.json and head.svg
    python benchmarks/head.py --threads 1 --seconds 0.1

Every way computes the log-probabilities of N tokens from hidden states, and the gradients of states and
weights, in float32.  The ways take turns; a figure is the median over the turns.

    whole logits   F.linear and F.cross_entropy, by autograd
    fused          logits kept, in parts of the rows that `FusedHead.part_rows` says; at all sizes, also those
                   below `SMALL_OUTPUTS`, where training takes whole logits
    recomputed     as for what a single pair has above `KEEP_BYTES`: logits computed twice
    frozen         the weights need no gradient
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
import torch
from cpu.environment import environment
from torch import Tensor, nn
from torch.nn import functional as F

from orpo.modeling import head as head_module
from orpo.modeling.head import FusedHead
from orpo.ops.epilogue import LogitTransform
from orpo.ops.head import target_log_probs

RESULTS = Path(__file__).parent / "results"
ROWS = (8, 64, 512, 4096)
VOCABULARIES = (256, 2_000, 32_000, 128_000)
WIDTHS = (64, 384, 1_024)
MOST_FLOPS = 1.5e10
"""Of one product of rows, vocabulary and width; larger sizes are left out, being like the ones before."""


def whole_logits(states: Tensor, head: nn.Linear, targets: Tensor, grad: Tensor) -> None:
    losses = F.cross_entropy(F.linear(states, head.weight), targets, reduction="none")
    losses.backward(-grad)


def fused(states: Tensor, head: nn.Linear, targets: Tensor, grad: Tensor) -> None:
    layer = FusedHead(head, LogitTransform())
    total = torch.zeros_like(head.weight) if len(states) > layer.part_rows else None
    for start in range(0, len(states), layer.part_rows):
        part = slice(start, start + layer.part_rows)
        layer.log_probs(states[part], head.weight, None, targets[part], total).backward(grad[part])
    if total is not None:
        head.weight.grad = total


def recomputed(states: Tensor, head: nn.Linear, targets: Tensor, grad: Tensor) -> None:
    rows = FusedHead(head, LogitTransform()).part_rows
    log_probs = target_log_probs(
        states, head.weight, None, targets, transform=LogitTransform(), chunk_size=rows, keep_rows=0
    )
    log_probs.backward(grad)


def frozen(states: Tensor, head: nn.Linear, targets: Tensor, grad: Tensor) -> None:
    head.weight.requires_grad_(False)
    FusedHead(head, LogitTransform())(states, targets).backward(grad)
    head.weight.requires_grad_(True)


WAYS: dict[str, Callable[[Tensor, nn.Linear, Tensor, Tensor], None]] = {
    "whole logits": whole_logits,
    "fused": fused,
    "recomputed": recomputed,
    "frozen": frozen,
}


def measure(rows: int, vocabulary: int, width: int, seconds: float) -> dict[str, float]:
    """Median seconds of every way at one size: of as many turns as fit in `seconds`, two at least."""
    torch.manual_seed(0)
    head = nn.Linear(width, vocabulary, bias=False)
    states = torch.randn(rows, width, requires_grad=True)
    targets, grad = torch.randint(vocabulary, (rows,)), torch.randn(rows)
    taken: dict[str, list[float]] = {name: [] for name in WAYS}
    end = math.inf
    turns = 0
    while turns < 3 or time.perf_counter() < end:
        for name, way in WAYS.items():
            states.grad = head.weight.grad = None
            started = time.perf_counter()
            way(states, head, targets, grad)
            taken[name].append(time.perf_counter() - started)
        if turns == 0:  # it warmed up
            end = time.perf_counter() + seconds
        turns += 1
    return {name: median(values[1:]) for name, values in taken.items()}


def sweep(seconds: float) -> list[dict[str, Any]]:
    return [
        {
            "rows": rows,
            "vocabulary": vocabulary,
            "width": width,
            "seconds": measure(rows, vocabulary, width, seconds),
        }
        for width in WIDTHS
        for vocabulary in VOCABULARIES
        for rows in ROWS
        if 2 * rows * vocabulary * width <= MOST_FLOPS
    ]


def table(cells: list[dict[str, Any]]) -> str:
    """Time over that of whole logits."""
    titles = ("width", "vocabulary", "rows", "whole logits, ms", *WAYS)
    titles = [title for title in titles if title != "whole logits"]
    lines = [f"| {' | '.join(titles)} |", "|" + " ---: |" * len(titles)]
    for cell in cells:
        whole = cell["seconds"]["whole logits"]
        shares = (f"{cell['seconds'][name] / whole:.2f}" for name in WAYS if name != "whole logits")
        size = (f"{cell[name]:,}" for name in ("width", "vocabulary", "rows"))
        lines.append(f"| {' | '.join((*size, f'{1000 * whole:.2f}', *shares))} |")
    return "\n".join(lines)


def draw(cells: list[dict[str, Any]], path: Path) -> None:
    """Time of the fused head over that of whole logits, by rows."""
    figure, panels = plt.subplots(1, len(WIDTHS), figsize=(9, 3), sharey=True, layout="constrained")
    for panel, width in zip(panels, WIDTHS, strict=True):
        for vocabulary in VOCABULARIES:
            line = [c for c in cells if (c["width"], c["vocabulary"]) == (width, vocabulary)]
            shares = [c["seconds"]["fused"] / c["seconds"]["whole logits"] for c in line]
            panel.plot([c["rows"] for c in line], shares, marker="o", label=f"{vocabulary:,} tokens")
        panel.axhline(1, color="black", linewidth=0.8)
        panel.set(title=f"hidden size {width:,}", xlabel="rows", xscale="log", ylim=(0, None))
    panels[0].set_ylabel("time, fused / whole logits")
    panels[-1].legend(frameon=False, fontsize="small")
    plt.rcParams["svg.hashsalt"] = "head"
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=1.0, help="of a size, all ways together")
    parser.add_argument("--results", type=Path, default=RESULTS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    head_module.SMALL_OUTPUTS = 0
    record = {"environment": environment(options.threads), "cells": sweep(options.seconds)}
    (options.results / "head.json").write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(record["cells"], options.results / "head.svg")
    print(table(record["cells"]))


if __name__ == "__main__":
    main()
