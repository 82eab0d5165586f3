"""The benchmark of the engine measures what it says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from benchmarks.cpu.products import Recorder, Replay, time_products
from benchmarks.cpu.turns import SideFailedError, alternate
from benchmarks.cpu.workload import SIZES, Workload, read_workload
from torch import nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import TrainerCallback

from tests.paths import needs_shared

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Scripted:
    """A side that notes its steps in a file, and may fail in one of them."""

    name: str
    notes: Path
    fails_at: int | None = None

    @property
    def variables(self) -> dict[str, str]:
        return {"SIDE": self.name}

    def train(self, workload: Workload, steps: int, callback: TrainerCallback) -> None:
        for step in range(steps):
            call: Any = callback
            call.on_step_begin()
            assert os.environ["SIDE"] == self.name
            if step == self.fails_at:
                raise ValueError(f"{self.name} fails")
            with self.notes.open("a", encoding="utf-8") as file:
                file.write(f"{self.name}{step} ")
            call.on_step_end()
            call.on_log(logs={"loss": float(step)})


class TwoBatches(Workload):
    """A workload of which only the length matters."""

    def __init__(self) -> None:
        pass

    def __len__(self) -> int:
        return 2


def test_sides_take_their_steps_in_turn(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    measured = alternate({name: Scripted(name, notes) for name in "ab"}, TwoBatches(), lambda _: None)
    assert notes.read_text().split() == ["a0", "b0", "a1", "b1"]
    assert all(len(m.seconds) == 2 and m.losses == [0.0, 1.0] for m in measured.values())


def test_a_side_that_fails_ends_the_others(tmp_path: Path) -> None:
    notes = tmp_path / "notes"
    sides = {"a": Scripted("a", notes), "b": Scripted("b", notes, fails_at=0)}
    with pytest.raises(SideFailedError, match="b"):
        alternate(sides, TwoBatches(), lambda _: None)
    assert notes.read_text().split() == ["a0"]


def test_products_of_both_passes_are_recorded_and_can_be_run_again() -> None:
    layers = nn.Sequential(nn.Linear(8, 16), nn.Linear(16, 4, bias=False))
    inputs = torch.randn(3, 8, requires_grad=True)
    with FlopCounterMode(display=False) as counter, Recorder() as recorder:
        layers(inputs).sum().backward()
    assert len(recorder.products) == 6
    assert sum(product.flops for product in recorder.products) == counter.get_total_flops()
    assert Replay(recorder.products)() > 0


@needs_shared
def test_a_step_multiplies_what_is_useful_and_computes_attention_scores_again() -> None:
    times = time_products(read_workload("hh", SIZES["smoke"], 2))
    for found, useful in zip(times.product_flops, times.useful_flops, strict=True):
        assert useful < found < 1.05 * useful
    assert all(0 < a < p for a, p in zip(times.attention_seconds, times.product_seconds, strict=True))


@needs_shared
def test_a_small_run_equals_trl_and_leaves_tables_and_a_picture(tmp_path: Path) -> None:
    sides = ["trl", "ours", "ours, definition trl"]
    done = subprocess.run(
        [
            *(sys.executable, "benchmarks/engine.py", "run", "hh", "--smoke", "--threads", "1"),
            *("--steps", "2", "--results", str(tmp_path), "--sides", *sides),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    record = json.loads((tmp_path / "engine-hh-run.json").read_text(encoding="utf-8"))
    assert record["sides"].keys() == set(sides)
    assert all(len(side["seconds"]) == 2 for side in record["sides"].values())
    ours, trl = (record["sides"][side]["losses"] for side in ("ours, definition trl", "trl"))
    assert ours == pytest.approx(trl, abs=1e-5)
    assert len(set(trl)) == 2
    assert (tmp_path / "engine.md").read_text(encoding="utf-8") == done.stdout.removesuffix("\n")
    assert (tmp_path / "engine.svg").stat().st_size > 1000
