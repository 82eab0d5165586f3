#!/usr/bin/env python3
"""What ways to save the memory of activations save, and what time they take: settings beside one another.

    python benchmarks/activations.py run                # half a minute for each setting; Linux only
    python benchmarks/activations.py run --only true    # one of them, into the same file
    python benchmarks/activations.py run --smoke        # in seconds, on a tiny model, kept elsewhere
    python benchmarks/activations.py table

Each setting is `TrainingLoop` in a process of its own, on the largest of some batches of HH harmless as one
micro-batch, one thread.  Time is the processor's, of whole steps.  Memory is told twice: what is resident in
a step above what was before it (weights, Adam's moments and libraries are not in it, gradients are), and what
operators have returned and still lives at the same time, gradients not counted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest.mock import patch

import torch
from cpu.memory import MemoryClock
from cpu.ours import Ours
from cpu.report import MIB, table
from cpu.script import keep, measured_batches, results_folder, tell
from cpu.workload import SIZES, Workload
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel, TrainerCallback

from orpo.batch import PromptTokens
from orpo.data.collate import batch_totals, collate
from orpo.modeling import scorer as scoring
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.engine import build_scorer
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World
from orpo.ops.memory import memory_meter
from orpo.training.loss import PairLoss
from orpo.training.step import GradientStep

STEPS = 3
"""Of which the first warms up."""

BATCHES = 6
"""Of which the largest is used."""


@dataclass(frozen=True)
class Setting(Ours):
    """A way of training."""

    keeps_results: bool = False
    """Keep what is cheap to have again, as PyTorch does by itself."""

    mlp_parts: int = 1
    """Take the MLP of each layer through so many parts of the tokens, each computed again in the backward
    pass."""

    lora: bool = False

    def train(self, workload: Workload, steps: int, callback: TrainerCallback) -> None:
        with self._kept():
            super().train(workload, steps, callback)

    def live(self, workload: Workload) -> int:
        """Bytes of most that operators have returned and lives at once in the passes of a step."""
        scorer = self._scorer(workload)
        batch = collate([*workload.pairs], scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
        cpu = World(0, 1, torch.device("cpu"))
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        step = GradientStep(PairLoss(scorer, self.objective), cpu, None, scaler)
        totals = batch_totals(workload.pairs, PromptTokens.NONE)
        for parameter in step.loss.parameters():
            if parameter.requires_grad:
                parameter.grad = torch.zeros_like(parameter)
        with self._kept():
            return memory_meter(cpu.device)(partial(step, [batch], totals, lambda: None))

    def _kept(self) -> AbstractContextManager[object]:
        """Around all passes: with PyTorch's own way of keeping what the backward pass needs, or ours."""
        if not self.keeps_results:
            return nullcontext()
        unhooked = partial(saved_tensors_hooks, lambda tensor: tensor, lambda tensor: tensor)
        return patch.object(scoring, "recompute_cheap_results", unhooked)

    def _scorer(self, workload: Workload) -> PairScorer:
        model: Any = workload.new_model()
        if self.checkpointing:
            checkpoint_activations(model, selective=self.checkpointing == "selective")
        if self.mlp_parts > 1:
            take_in_parts(model, self.mlp_parts)
        if self.lora:
            model = add_lora(model, r=16, alpha=32, dropout=0.0, target="all-linear")
        return build_scorer(model.train(), layout=self.layout, max_length=workload.size.max_length)


def take_in_parts(model: PreTrainedModel, parts: int) -> None:
    """Let each layer's MLP see its tokens in parts, and compute each again in the backward pass."""

    def in_parts(whole: Any, states: Tensor) -> Tensor:
        outputs = [checkpoint(whole, part, use_reentrant=False) for part in states.chunk(parts, dim=1)]
        return torch.cat(outputs, dim=1)  # type: ignore[arg-type]  checkpoint is not typed

    for name, module in model.named_modules():
        if name.endswith("mlp"):
            assert isinstance(module, nn.Module)
            module.forward = partial(in_parts, module.forward)


SETTINGS = {
    "everything kept": Setting(keeps_results=True),
    "false": Setting(),
    "selective": Setting(checkpointing="selective"),
    "true": Setting(checkpointing=True),
    "false, MLP in 4 parts": Setting(mlp_parts=4),
    "true, MLP in 4 parts": Setting(checkpointing=True, mlp_parts=4),
    "false, one pair at a time": Setting(max_tokens=1),
    "true, one pair at a time": Setting(checkpointing=True, max_tokens=1),
    "LoRA, everything kept": Setting(keeps_results=True, lora=True),
    "LoRA, false": Setting(lora=True),
    "LoRA, selective": Setting(checkpointing="selective", lora=True),
    "LoRA, true": Setting(checkpointing=True, lora=True),
}


@dataclass
class StepClock(MemoryClock):
    """Processor time and resident memory of steps."""

    seconds: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._started = 0.0

    def on_step_begin(self, *args: Any, **details: Any) -> None:
        super().on_step_begin(*args, **details)
        self._started = time.process_time()

    def on_step_end(self, *args: Any, **details: Any) -> None:
        self.seconds.append(time.process_time() - self._started)
        super().on_step_end(*args, **details)


def measure(setting: Setting, workload: Workload) -> dict[str, Any]:
    """What a process of one setting does."""
    clock = StepClock()
    setting.train(workload, STEPS, clock)
    live = setting.live(workload) if setting.max_tokens != 1 else None
    return {**asdict(clock.resident), "seconds": clock.seconds, "live": live}


def report(record: dict[str, Any]) -> str:
    """A row per setting; times are over `false`, and over `LoRA, false` with adapters."""
    sides = record["sides"]
    rows: list[list[str]] = []
    for name, found in sides.items():
        base = sides.get("LoRA, false" if name.startswith("LoRA") else "false", found)
        above = [peak - before for peak, before in zip(found["peak"], found["before"], strict=True)]
        seconds = median(found["seconds"][1:])
        rows.append(
            [
                name,
                "–" if found["live"] is None else f"{found['live'] / MIB:,.0f}",
                f"{max(above[1:]) / MIB:,.0f}",  # the first step makes Adam's moments
                f"{seconds:.2f}",
                f"{seconds / median(base['seconds'][1:]):.2f}",
            ]
        )
    return table(["setting", "most live, MiB", "resident above, MiB", "seconds", "× time"], rows)


def run(options: argparse.Namespace, path: Path) -> None:
    """Measure the settings that are asked for, one after the other, and keep them with those of before."""
    _, measured = measured_batches("hh", options.size, BATCHES)
    batch = measured.batches([measured.largest()])
    known = json.loads(path.read_text(encoding="utf-8"))["sides"] if path.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        batch.save(Path(folder) / "batch.json")
        for name in options.only or SETTINGS:
            command = [sys.executable, __file__, "side", name, folder]
            subprocess.run([*command, *(["--smoke"] if options.size == "smoke" else [])], check=True)
            known[name] = json.loads((Path(folder) / "found.json").read_text(encoding="utf-8"))
            tell(f"{name}: {median(known[name]['seconds'][1:]):.2f} s")
    sides = {name: known[name] for name in SETTINGS if name in known}
    keep(path, {"batches": batch.describe(), "steps": STEPS, "sides": sides}, options.size, 1)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    verbs = parser.add_subparsers(dest="verb", required=True)
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--smoke", dest="size", action="store_const", const="smoke", default="full")
    running = verbs.add_parser("run", parents=[common], help="measure time and memory")
    running.add_argument("--only", nargs="+", choices=SETTINGS, help="these settings alone")
    tabulating = verbs.add_parser("table", help="the table of the results that are there")
    for verb in (running, tabulating):
        verb.add_argument("--results", type=Path, help="folder of the results")
    one = verbs.add_parser("side", parents=[common], help="a process of one setting")
    one.add_argument("name", choices=SETTINGS)
    one.add_argument("folder", type=Path)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.verb == "side":
        torch.set_num_threads(1)
        workload = Workload.load(SIZES[options.size], options.folder / "batch.json")
        found = measure(SETTINGS[options.name], workload)
        (options.folder / "found.json").write_text(json.dumps(found), encoding="utf-8")
        return
    is_trial = getattr(options, "size", "full") != "full"
    path = results_folder(options.results, is_trial=is_trial) / "activations.json"
    if options.verb == "run":
        run(options, path)
    print(report(json.loads(path.read_text(encoding="utf-8"))))


if __name__ == "__main__":
    main()
