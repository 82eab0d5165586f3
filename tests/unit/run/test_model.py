"""A model whose weights are shared out ends as it would have on one process; contradictions are refused."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.errors import ConfigError
from orpo.run import TrainingResult, train
from orpo.rundir import RunDirectory
from tests.rows import rows
from tests.tiny import save_tiny_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base")


def run(base: Path, name: str, *overrides: str, **options: Any) -> TrainingResult:
    """Two steps over some of 16 pairs, into a folder beside the model."""
    config = {
        "model": str(base),
        "data": {"train": "rows", "cache": str(base.with_name("cache"))},
        "training": {
            "batch_size": 8,
            "max_steps": 2,
            "max_tokens": 60,
            "log_every": 1,
            "learning_rate": 0.05,
            "checkpoint_every": 1,
        },
        "output": str(base.with_name(name)),
    }
    return train(config, overrides=overrides, train_rows=rows(16), **options)


@pytest.mark.parametrize(
    "settings",
    [
        [],
        ["objective.name=dpo", "model.lora.r=2"],
        ["model.lora.r=2", "model.lora.merge=true"],
        ["objective.name=reward"],
    ],
    ids=["full", "adapters and a reference", "merged adapters", "reward model"],
)
def test_weights_that_are_shared_out_leave_what_whole_ones_leave(base: Path, settings: list[str]) -> None:
    settings = ["data.eval=0.25", "training.eval_every=1", *settings]
    plain = RunDirectory(run(base, "plain", *settings).path)
    shutil.rmtree(base.with_name("cache"), ignore_errors=True)  # the reference's scores are in it
    result = run(base, "shared", "training.parallel=fsdp", *settings)
    shared = RunDirectory(result.path)
    assert shared.read_metrics() == plain.read_metrics()
    assert len(plain.read_metrics()) == 5
    names = {path.name for path in plain.model.iterdir()}
    assert names == {path.name for path in shared.model.iterdir()}
    (weights,) = (name for name in names if name.endswith(".safetensors"))
    assert (plain.model / weights).read_bytes() == (shared.model / weights).read_bytes()
    assert (shared.checkpoints.at(2) / "shards.json").exists()
    assert all(type(p.data) is torch.Tensor for p in result.model.parameters()), "read from model/, whole"


class StopOnce(TrainerCallback):
    """Ends a run after its first step."""

    def on_step_end(  # pyright: ignore[reportIncompatibleMethodOverride]  transformers types it as None
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step == 2:
            raise KeyboardInterrupt


@pytest.mark.parametrize(("before", "after"), [("ddp", "fsdp"), ("fsdp", "ddp"), ("fsdp", "fsdp")])
def test_a_run_goes_on_with_weights_shared_out_or_whole(base: Path, before: str, after: str) -> None:
    plain = RunDirectory(run(base, "plain").path)
    with pytest.raises(KeyboardInterrupt):
        run(base, "again", f"training.parallel={before}", callbacks=[StopOnce()])
    again = RunDirectory(base.with_name("again"))
    assert again.checkpoints.steps() == [1]
    run(base, "again", f"training.parallel={after}", resume="auto")
    assert again.read_summary()["resumed"] == [1]
    assert again.read_metrics() == plain.read_metrics()
    weights = "model.safetensors"
    assert (again.model / weights).read_bytes() == (plain.model / weights).read_bytes()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["training.cpu_offload=true"], r"training\.cpu_offload: needs training\.parallel: fsdp, got ddp"),
        (
            ["training.parallel=fsdp", "model.quantization=nf4", "model.lora.r=2"],
            r"fsdp cannot share out the weights of model\.quantization: nf4",
        ),
        (["training.select=best"], r"training\.select: best needs evaluations, and data\.eval is not set"),
        (["training.parallel=fsdp", "training.optimizer=muon"], "muon needs whole tensors"),
    ],
    ids=["offload", "quantisation", "select", "optimizer"],
)
def test_keys_that_contradict_each_other_are_refused_before_anything_is_written(
    base: Path, settings: list[str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(base, "refused", *settings)
    assert not (base.with_name("refused") / "config.yaml").exists()
