"""A step whose numbers are not finite changes nothing at all, and no row of the logs hides it."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from orpo.batch import Totals
from orpo.errors import NumericsError
from orpo.ops.distributed import World
from orpo.ops.means import weighted
from orpo.training.batches import GlobalBatch
from orpo.training.guard import FiniteGuard
from tests.faulty import InfiniteSlope, Poisoned, poison
from tests.loops import ALONE, make_loop, random_pairs

FAULTS = [Poisoned(0.5), InfiniteSlope(0.5)]


def rows(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("fault", FAULTS, ids=["loss", "gradient"])
@pytest.mark.parametrize("step", [1, 3])
@pytest.mark.parametrize("optimizer", ["adamw", "adafactor", "muon"])
def test_weights_and_moments_are_those_of_the_step_before_bit_for_bit(
    optimizer: str, fault: Any, step: int
) -> None:
    start = make_loop()
    loop, seen = poison(
        make_loop,
        (step,),
        fault,
        max_steps=4,
        max_skipped_steps=1,
        weight_decay=0.1,
        warmup=0,
        optimizer=optimizer,
    )
    loop.run()
    before = seen.after[step - 2] if step > 1 else {}
    if step == 1:
        before = {f"weight {name}": p.detach() for name, p in start._model.named_parameters()}
    after = seen.after[step - 1]
    assert all(torch.equal(before[name], after[name]) for name in before)
    if step == 1:
        assert not any(value.any() for name, value in after.items() if name.startswith("state"))
    assert not torch.equal(after["weight lm_head.weight"], seen.after[step]["weight lm_head.weight"])


@pytest.mark.parametrize("fault", FAULTS, ids=["loss", "gradient"])
def test_a_run_that_skips_a_step_has_the_means_of_the_others(fault: Any, tmp_path: Path) -> None:
    loop, _ = poison(
        make_loop,
        (2,),
        fault,
        run_dir=tmp_path,
        max_steps=4,
        log_every=1,
        max_skipped_steps=1,
        eval_every=None,
    )
    loop.run()
    assert [row["step"] for row in rows(tmp_path)] == [1, 3, 4], "a step without an update has no row"
    assert all(math.isfinite(value) for row in rows(tmp_path) for value in row.values() if value != "train")
    assert loop.course.skipped_steps == [2]


def test_skipped_steps_have_no_part_in_the_means_of_their_row(tmp_path: Path) -> None:
    alone, skipping = tmp_path / "alone", tmp_path / "skipping"
    make_loop(run_dir=alone, max_steps=1, learning_rate=1e-12).run()
    loop, _ = poison(
        make_loop,
        (2, 3),
        FAULTS[0],
        run_dir=skipping,
        max_steps=3,
        learning_rate=1e-12,
        max_skipped_steps=2,
        log_every=3,
    )
    loop.run()
    (expected,), (found,) = rows(alone), rows(skipping)
    for name in ("loss", "grad_norm", "logps/chosen"):
        assert found[name] == pytest.approx(expected[name], rel=1e-5)


def test_the_run_ends_at_the_first_step_above_the_number_that_may_be_skipped(tmp_path: Path) -> None:
    loop, seen = poison(
        make_loop, (2, 4), FAULTS[0], run_dir=tmp_path, max_steps=9, log_every=9, max_skipped_steps=1
    )
    with pytest.raises(NumericsError, match="step 4: loss is not finite"):
        loop.run()
    assert loop.course.skipped_steps == [2, 4]
    assert len(seen.after) == 4, "the verdict is read before the next step's update"


def test_without_logging_the_next_step_reads_the_verdict_and_makes_no_update() -> None:
    loop, seen = poison(make_loop, (3,), FAULTS[0], max_steps=9, log_every=100)
    with pytest.raises(NumericsError, match="step 3"):
        loop.run()
    assert len(seen.after) == 3


def test_no_checkpoint_is_made_of_a_step_that_was_left_out(tmp_path: Path) -> None:
    loop, _ = poison(
        make_loop, (4,), FAULTS[0], run_dir=tmp_path, max_steps=9, log_every=100, checkpoint_every=2
    )
    with pytest.raises(NumericsError, match="step 4") as caught:
        loop.run()
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-2"]
    assert f"The last good checkpoint is {tmp_path / 'checkpoints' / 'step-2'}." in str(caught.value.hint)


def test_float16_that_overflows_at_the_lowest_scale_is_a_fault() -> None:
    """Its loss is finite and its gradient is not, whatever the scale."""
    loop = make_loop(precision="float16", objective=InfiniteSlope(0.5), epochs=40, log_every=1)
    with pytest.raises(NumericsError, match="grad_norm is not finite"):
        loop.run()
    assert loop.step == 17, "2^16 is halved 16 times before it is 1"


class TwoProcesses(World):
    """This process and another one, whose numbers are wrong."""

    def sum(self, values: torch.Tensor) -> torch.Tensor:
        return values.add_(torch.tensor([1.0, 0.0]))


def judged(world: World, loss: float, grad_norm: float) -> tuple[FiniteGuard, float]:
    guard = FiniteGuard(world, torch.amp.GradScaler("cpu", enabled=False))
    sums = {"loss": weighted(torch.tensor(loss), torch.tensor(2.0))}
    batch = GlobalBatch(list(random_pairs(2)), Totals(2, 2, 0, 2, 4))
    left_out, _ = guard.judge(7, batch, sums, torch.tensor(grad_norm))
    return guard, left_out.item()


@pytest.mark.parametrize(
    ("world", "loss", "grad_norm", "expected"),
    [
        (ALONE, 1.0, 2.0, 0.0),
        (ALONE, math.nan, 2.0, 1.0),
        (ALONE, -math.inf, 2.0, 1.0),
        (ALONE, 1.0, math.inf, 1.0),
        (ALONE, 1.0, math.nan, 1.0),
        (TwoProcesses(0, 2, torch.device("cpu")), 1.0, 2.0, 1.0),
    ],
)
def test_a_step_counts_if_loss_and_gradient_are_finite_on_every_rank(
    world: World, loss: float, grad_norm: float, expected: float
) -> None:
    guard, left_out = judged(world, loss, grad_norm)
    assert left_out == expected
    fault = guard.verdict()
    assert (fault is not None) == bool(expected)
    assert guard.verdict() is None, "told once"
