"""FSDP2 on one GPU, in a process group of one: weights beside those of plain training, speed and memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from ladder import WARMUP_STEPS, StepClock
from results import Record
from timing import forget
from workload import dummy_tokenizer, new_model, read_pairs

from orpo.config.schema import TrainingSection
from orpo.modeling.engine import build_scorer
from orpo.objectives import ORPO
from orpo.ops.distributed import World, join_world
from orpo.ops.precision import autocast_dtype
from orpo.ops.sharded import whole
from orpo.training.batches import Batches
from orpo.training.loop import TrainingLoop
from orpo.training.sharding import shard

STEPS = 3
"""Measured ones."""

WAYS: dict[str, dict[str, Any]] = {
    "plain": {},
    "fsdp": {"parallel": "fsdp"},
    "fsdp, cpu_offload": {"parallel": "fsdp", "cpu_offload": True},
}


def check_sharding(record: Record, device: torch.device, smoke: bool) -> None:
    """The same steps in each way, in float32: the largest relative difference of a tensor's change."""
    shape = "smoke" if smoke else "llama-1b"
    start = {name: p.detach().cpu() for name, p in new_model(shape, device, torch.float32).named_parameters()}
    expected: dict[str, torch.Tensor] = {}
    with join_world(needs_group=True) as world:
        for name, settings in WAYS.items():
            clock = StepClock(device, math.inf)
            forget(device)
            found = _train(shape, settings, world, clock, smoke)
            expected = expected or found
            differences = [
                ((value - expected[key]).norm() / (expected[key] - start[key]).norm()).item()
                for key, value in found.items()
            ]
            record.add(
                name,
                seconds_per_step=sum(clock.seconds) / len(clock.seconds),
                peak_gb=torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else "unknown",
                largest_difference=max(differences),
            )


def _train(
    shape: str, options: dict[str, Any], world: World, clock: StepClock, smoke: bool
) -> dict[str, torch.Tensor]:
    """The weights after some steps, in the host's memory."""
    steps = WARMUP_STEPS + (1 if smoke else STEPS)
    pairs = read_pairs("smoke" if smoke else shape, steps=steps, batch_size=4, longest=20 if smoke else None)
    settings = TrainingSection(
        batch_size=pairs.batch_size,
        max_steps=steps,
        schedule="constant",
        warmup=0.0,
        adam_epsilon=0.1,  # Adam would forgive a gradient that is wrong by a factor
        learning_rate=1e-2,
        max_grad_norm=None,
        shuffle=False,
        precision="float32",
        log_every=steps,
        **options,
    )
    is_shared_out = settings.parallel == "fsdp"
    # As in a run: what is shared out is on the host before.
    home = torch.device("cpu") if is_shared_out else world.device
    model = new_model(shape, world.device, torch.float32).to(home)  # type: ignore[arg-type]
    scorer, objective = build_scorer(model, layout="auto", max_length=1024), ORPO(0.1, "paper")
    if is_shared_out:
        dtype = autocast_dtype(settings.precision, world.device)
        shard(scorer, world, dtype=dtype, cpu_offload=settings.cpu_offload)
    batches = Batches.of(
        pairs.pairs, settings, objective, layout=scorer.layout, pad_id=0, max_length=1024, world=world
    )
    TrainingLoop(
        scorer=scorer,
        tokenizer=dummy_tokenizer(),
        objective=objective,
        batches=batches,
        settings=settings,
        max_tokens=2048,
        world=world,
        callbacks=(clock,),
    ).run()
    return {name: whole(p.detach()).cpu() for name, p in model.named_parameters()}
