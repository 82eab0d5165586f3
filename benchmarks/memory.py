#!/usr/bin/env python3
"""Where a step's memory goes, term by term, beside what arithmetic says; on a processor.

    python benchmarks/memory.py run                             # half a minute for each way; Linux only
    python benchmarks/memory.py run --only "float32, adamw"     # one of them, into the same file
    python benchmarks/memory.py table

For each way to train, a process of its own makes model, activations, gradients and optimizer state one after
the other, on a batch of HH harmless as one micro-batch, one thread.  A term is what the process is resident
with above what it was before, after unused heap is given back; the head's is the most that lives at once on
its way from states to their gradient.  The peak is of a later step, above the process without a model; what
lives at once in its passes, gradients not counted, is followed operator by operator.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from cpu.memory import CLEAR_REFS, status, trim
from cpu.report import MIB, table
from cpu.script import RESULTS, keep, measured_batches
from cpu.workload import SIZES, Workload

from orpo.batch import MicroBatch, PromptTokens, Totals
from orpo.config.schema import TrainingSection
from orpo.data.collate import batch_totals, collate
from orpo.modeling.engine import build_scorer
from orpo.modeling.head import PART_BYTES
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.objectives import ORPO
from orpo.ops.distributed import World
from orpo.ops.memory import memory_meter
from orpo.training.loss import PairLoss
from orpo.training.optim import make_optimizer, state_bytes
from orpo.training.step import GradientStep

BATCHES = 6
"""Of which the largest is used."""

RANK = 16
"""Of adapters."""

CPU = World(0, 1, torch.device("cpu"))
TERMS = ("weights", "gradients", "state", "activations", "head")


@dataclass(frozen=True)
class Way:
    """To train."""

    dtype: Literal["float32", "bfloat16"]
    optimizer: Literal["adamw", "adafactor"] = "adamw"
    lora: bool = False


WAYS = {
    "float32, adamw": Way("float32"),
    "bfloat16, adamw": Way("bfloat16"),
    "float32, adafactor": Way("float32", "adafactor"),
    "float32 under LoRA": Way("float32", lora=True),
    "bfloat16 under LoRA": Way("bfloat16", lora=True),
}


class Resident:
    """What the process is resident with, piece by piece."""

    def __init__(self) -> None:
        self._before = self.now()

    @staticmethod
    def now() -> int:
        trim()
        return status("VmRSS")

    def added(self) -> int:
        """Since the last call."""
        before, self._before = self._before, self.now()
        return self._before - before


def measure(way: Way, workload: Workload) -> dict[str, dict[str, float]]:
    """The terms of one way, measured and computed."""
    pairs = [*workload.pairs]
    measured: dict[str, float] = {}
    resident = Resident()
    start = resident.now()
    model: Any = workload.new_model().to(getattr(torch, way.dtype)).train()
    if way.lora:
        model = add_lora(model, r=RANK, alpha=32, dropout=0.0, target="all-linear")
    measured["weights"] = resident.added()

    settings = TrainingSection(optimizer=way.optimizer)
    scorer = build_scorer(model, layout="auto", max_length=workload.size.max_length)
    loss = PairLoss(scorer, ORPO())
    step = GradientStep(loss, CPU, None, torch.amp.GradScaler("cpu", enabled=False))
    batch = collate(pairs, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    totals = batch_totals(pairs, PromptTokens.NONE)
    gradient = partial(step, [batch], totals, lambda: None)
    optimizer = make_optimizer(model, settings)

    gradient()
    optimizer.zero_grad()  # libraries have made what they make once
    resident.added()
    with scorer.attention():
        states = scorer.states(batch)
        measured["activations"] = resident.added()
        leaf = states.detach().requires_grad_()
        measured["head"] = memory_meter(CPU.device)(partial(head_pass, loss, leaf, batch, totals))
    del states, leaf
    optimizer.zero_grad()
    resident.added()
    gradient()
    measured["gradients"] = resident.added()
    optimizer.step()
    measured["state"] = resident.added()
    optimizer.zero_grad()
    resident.added()
    CLEAR_REFS.write_text("5")  # the peak from here on, see proc(5)
    gradient()
    measured["peak"] = status("VmHWM") - start
    measured["passes"] = memory_meter(CPU.device)(gradient)
    computed = compute(way, scorer, settings, tokens=batch.input_ids.numel(), scored=len(batch.targets))
    return {"measured": measured, "computed": computed}


def head_pass(loss: PairLoss, states: torch.Tensor, batch: MicroBatch, totals: Totals) -> None:
    """From the states of scored tokens to their gradient, and to that of the head's weights."""
    loss._objective(states, batch, totals, torch.ones(())).loss.backward()


def compute(
    way: Way, scorer: PairScorer, settings: TrainingSection, *, tokens: int, scored: int
) -> dict[str, float]:
    """The same terms from the shape of a Llama alone.

    Args:
        way: to train.
        scorer: of the model.
        settings: of the optimizer.
        tokens: of the micro-batch.
        scored: of these, the scored ones.
    """
    c: Any = scorer.model.config
    size = 4 if way.dtype == "float32" else 2
    trained = [p for p in scorer.parameters() if p.requires_grad]
    gradients = sum(p.nbytes for p in trained)
    # Queries, keys, values and attention's output; gate and up; and the inputs of two norms, in float32.
    layer = size * (4 * c.hidden_size + 2 * c.intermediate_size) + 4 * 2 * c.hidden_size
    if way.lora:
        # What comes out of the first matrices of seven adapters; and their inputs: those that are a norm's
        # output, whose scale is not trained, cannot be had again, and PEFT converts each to float32.
        layer += 4 * 7 * RANK + (2 * 4 if way.dtype == "float32" else 6 * 4) * c.hidden_size
    outputs = size * c.vocab_size * min(scored, PART_BYTES["cpu"] // (4 * c.vocab_size))
    head = c.vocab_size * c.hidden_size
    # The sum over parts is float32; a product of bfloat16 exists in both types before it is added.
    summed = 0 if way.lora else head * (4 if way.dtype == "float32" else 4 + 4 + 2)
    return {
        "weights": sum(p.nbytes for p in scorer.parameters()),
        "gradients": gradients,
        "state": state_bytes(scorer.model, settings),
        "activations": tokens * c.num_hidden_layers * layer,
        "head": outputs + summed,
    }


def report(record: dict[str, Any]) -> str:
    """A row per way; in each cell what was measured, and what was computed."""
    rows: list[list[str]] = []
    for name, found in record["ways"].items():
        measured, computed = found["measured"], found["computed"]
        terms = [f"{measured[term] / MIB:,.0f} / {computed[term] / MIB:,.0f}" for term in TERMS]
        passes = computed["activations"] + computed["head"]
        total = sum(computed.values())
        rows.append(
            [
                name,
                *terms,
                f"{measured['passes'] / MIB:,.0f} / {passes / MIB:,.0f}",
                f"{measured['peak'] / MIB:,.0f} / {total / MIB:,.0f}",
            ]
        )
    return table(
        ["MiB, measured / computed", *TERMS, "most live in the passes", "resident peak / sum of all"], rows
    )


def run(path: Path, names: Sequence[str]) -> None:
    """Measure the ways that are asked for, and keep them with those of before."""
    _, batches = measured_batches("hh", "full", BATCHES)
    batch = batches.batches([batches.largest()])
    ways = json.loads(path.read_text(encoding="utf-8"))["ways"] if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        batch.save(Path(folder) / "batch.json")
        for name in names:
            subprocess.run([sys.executable, __file__, "way", name, folder], check=True)
            ways[name] = json.loads((Path(folder) / "found.json").read_text(encoding="utf-8"))
            sorted_ways = {name: ways[name] for name in WAYS if name in ways}
            keep(path, {"batches": batch.describe(), "ways": sorted_ways}, "full", 1)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    running = verbs.add_parser("run", help="measure")
    running.add_argument("--only", nargs="+", choices=WAYS, default=[*WAYS], help="these ways alone")
    tabulating = verbs.add_parser("table", help="the table of the results that are there")
    for verb in (running, tabulating):
        verb.add_argument("--results", type=Path, default=RESULTS, help="folder of the results")
    way = verbs.add_parser("way", help="a process of one way")
    way.add_argument("name", choices=WAYS)
    way.add_argument("folder", type=Path)
    options = parser.parse_args()
    if options.verb == "way":
        torch.set_num_threads(1)
        workload = Workload.load(SIZES["full"], options.folder / "batch.json")
        found = measure(WAYS[options.name], workload)
        (options.folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
        return
    path = options.results / "memory.json"
    if options.verb == "run":
        run(path, options.only)
    print(report(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
