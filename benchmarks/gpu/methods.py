"""Ways to train with less memory, each in the real training loop: optimizers, activations and 4-bit bases."""

from __future__ import annotations

import math
import tempfile
from pathlib import Path
from typing import Any

import torch
from ladder import WARMUP_STEPS, StepClock
from results import Record
from timing import forget
from workload import dummy_tokenizer, new_model, read_pairs

from orpo.config.schema import TrainingSection
from orpo.errors import ConfigError, ResourceError
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.engine import build_scorer
from orpo.modeling.load import load_model
from orpo.modeling.lora import add_lora
from orpo.modeling.merge import merged_weights
from orpo.modeling.quantization import quantization_config
from orpo.objectives import ORPO
from orpo.ops.distributed import World
from orpo.training.batches import Batches
from orpo.training.loop import TrainingLoop
from orpo.training.optim import state_bytes
from orpo.training.optimizers.algorithms import ALGORITHMS

STEPS = 3
"""Measured ones."""


def check_optimizers(record: Record, device: torch.device, smoke: bool) -> None:
    """Every optimizer on all weights, in bfloat16: pairs per second, peak, and state as large as foretold."""
    shape = "smoke" if smoke else "llama-1b"
    for name in ALGORITHMS:
        try:
            model: Any = new_model(shape, device, torch.bfloat16)
            _train(f"optimizer {name}", model, shape, name, record, device, smoke)
        except ConfigError as error:
            record.add(f"optimizer {name}", skipped=error.message)
        forget(device)


def check_activations(record: Record, device: torch.device, smoke: bool) -> None:
    """Every way to save the memory of activations, under adapters: pairs per second and peak."""
    shape = "smoke" if smoke else "llama-8b"
    ways = {"false": None, "selective": {"selective": True}, "true": {}, "offload": {"offload": True}}
    for name, options in ways.items():
        base = new_model(shape, device, torch.bfloat16)
        if options is not None:
            checkpoint_activations(base, **options)
        model = add_lora(base, r=16, alpha=32, dropout=0.0, target="all-linear")
        try:
            _train(f"gradient_checkpointing {name}", model, shape, "adamw", record, device, smoke)
        except (torch.OutOfMemoryError, ResourceError) as error:
            record.add(f"gradient_checkpointing {name}", failed=str(error).splitlines()[0])
        del base, model
        forget(device)


def check_qlora(record: Record, device: torch.device, smoke: bool) -> None:
    """Adapters over a base of NF4: pairs per second, peak, and what merging them makes of the logits."""
    shape = "smoke" if smoke else "llama-8b"
    try:
        quantization_config("nf4", torch.bfloat16)
    except ConfigError as error:
        record.add("qlora", skipped=error.message)
        return
    with tempfile.TemporaryDirectory() as folder:
        new_model(shape, device, torch.bfloat16).save_pretrained(folder)
        dummy_tokenizer().save_pretrained(folder)
        forget(device)
        for dora in (False, True):
            name = "qdora" if dora else "qlora"
            model: Any = _quantized(Path(folder)).to(device)
            model = add_lora(model, r=16, alpha=32, dropout=0.0, target="all-linear", dora=dora)
            _train(name, model, shape, "adamw", record, device, smoke)
            with torch.no_grad():
                merged_weights(model)  # raises if their logits are not the adapters'
            record.add(f"{name}, merged", logits="those of the adapters, to rounding")
            del model
            forget(device)


def _quantized(folder: Path) -> Any:
    return load_model(str(folder), dtype="bfloat16", quantization="nf4", products=torch.bfloat16).model


def _train(
    name: str, model: Any, shape: str, optimizer: str, record: Record, device: torch.device, smoke: bool
) -> None:
    steps = WARMUP_STEPS + (1 if smoke else STEPS)
    pairs = read_pairs(shape, steps=steps, batch_size=4 if smoke else 64, longest=20 if smoke else None)
    clock = StepClock(device, math.inf)
    settings = TrainingSection(
        optimizer=optimizer,  # type: ignore[arg-type]  one of its names
        batch_size=pairs.batch_size,
        max_steps=steps,
        learning_rate=8e-6,
        schedule="constant",
        warmup=0.0,
        shuffle=False,
        precision="bfloat16" if device.type == "cuda" else "float32",
        log_every=steps,
    )
    scorer, objective = build_scorer(model, layout="auto", max_length=1024), ORPO(0.1, "paper")
    world = World(0, 1, device)
    batches = Batches.of(
        pairs.pairs, settings, objective, layout=scorer.layout, pad_id=0, max_length=1024, world=world
    )
    loop = TrainingLoop(
        scorer=scorer,
        tokenizer=dummy_tokenizer(),
        objective=objective,
        batches=batches,
        settings=settings,
        max_tokens=8192,
        world=world,
        callbacks=(clock,),
    )
    loop.run()
    held = sum(
        value.nbytes
        for state in loop._optimizer.state.values()
        for value in state.values()
        if isinstance(value, torch.Tensor)
    )
    is_cuda = device.type == "cuda"
    record.add(
        name,
        pairs_per_s=pairs.batch_size * len(clock.seconds) / sum(clock.seconds),
        peak_gb=torch.cuda.max_memory_allocated() / 1e9 if is_cuda else "unknown",
        state_gb=held / 1e9,
        state_foretold_gb=state_bytes(model, settings) / 1e9,
    )
