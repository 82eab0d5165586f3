"""What a run refuses, says and leaves behind when it does not end as it should."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.errors import ConfigError, ResourceError
from orpo.run import TrainingResult, train
from orpo.rundir import RunDirectory
from orpo.training.loop import TrainingLoop
from tests.rows import rows
from tests.tiny import save_tiny_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base")


def run(base: Path, *overrides: str, callbacks: list[TrainerCallback] | None = None) -> TrainingResult:
    """Two steps over 16 pairs, into `run` beside the model."""
    config = {
        "model": str(base),
        "data": {"train": "rows"},
        "training": {"batch_size": 8, "max_steps": 2, "log_every": 1, "learning_rate": 1e-2},
        "output": str(base.with_name("run")),
    }
    return train(config, overrides=overrides, train_rows=rows(16), callbacks=callbacks or [])


class Raise(TrainerCallback):
    """Raises an error at the end of a step."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(KeyboardInterrupt(), "interrupted"), (RuntimeError("a fault of ours"), "failed")]
)
def test_a_run_that_stops_early_says_so_and_passes_the_error_on(
    base: Path, error: BaseException, status: str
) -> None:
    with pytest.raises(type(error)) as caught:
        run(base, callbacks=[Raise(error)])
    assert caught.value is error
    left = RunDirectory(base.with_name("run"))
    summary = left.read_summary()
    assert (summary["status"], summary["steps"], summary["model_step"]) == (status, 1, None)
    assert not left.model.exists()


def test_out_of_memory_says_what_to_change(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def exhausted(self: TrainingLoop) -> None:
        raise torch.OutOfMemoryError("tried to allocate 2 GiB\nand a long report")

    monkeypatch.setattr(TrainingLoop, "run", exhausted)
    with pytest.raises(ResourceError) as caught:
        run(base)
    assert caught.value.message == "out of memory on cpu: tried to allocate 2 GiB"
    assert "training.max_tokens" in str(caught.value.hint)


def test_a_callback_that_needs_a_trainer_is_refused_before_anything_is_written(base: Path) -> None:
    class NeedsTrainer(TrainerCallback):
        def __init__(self, trainer: object) -> None:
            pass

    with pytest.raises(ConfigError, match=r"NeedsTrainer needs a transformers\.Trainer"):
        run(base, callbacks=[NeedsTrainer(None)])
    assert not base.with_name("run").exists()


def test_low_precision_weights_are_trained_with_a_warning(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    result = run(base, "model.dtype=bfloat16")
    assert "updates smaller than its resolution are lost" in caplog.text
    assert {parameter.dtype for parameter in result.model.parameters()} == {torch.bfloat16}


def test_what_is_about_to_happen_is_announced(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orpo"):
        run(base, "training.max_tokens=36", "objective.lambda=0.25", "objective.definition=trl")
    assert "objective: orpo, definition trl, lambda 0.25" in caplog.text
    assert "8 pairs per step, at most 36 tokens per forward pass" in caplog.text
    assert "float32 products" in caplog.text
    lengths = [len(row["prompt"] + row["rejected"]) + 1 for row in rows(16)]  # bytes, and the EOS
    alone = sum(2 * length > 36 for length in lengths)
    assert 0 < alone < 16
    assert f"{alone} pairs exceed training.max_tokens and run alone" in caplog.text


def test_random_weights_follow_the_seed_and_not_the_pretrained_ones(base: Path) -> None:
    weights: list[torch.Tensor] = []
    for i, seed in enumerate((1, 1, 2)):
        overrides = ("model.random_init=true", f"training.seed={seed}", "training.learning_rate=1e-30")
        result = run(base, *overrides, f"output={base.with_name(f'run {i}')}")
        weights.append(result.model.get_parameter("lm_head.weight").detach())
    assert torch.equal(weights[0], weights[1])
    assert not torch.allclose(weights[0], weights[2])


def test_gradient_checkpointing_and_lora_work_together(base: Path) -> None:
    changes: list[dict[str, torch.Tensor]] = []
    for checkpointing in ("false", "true"):
        result = run(
            base,
            "model.lora.r=2",
            f"training.gradient_checkpointing={checkpointing}",
            f"output={base.with_name(checkpointing)}",
        )
        changes.append({name: p.detach() for name, p in result.model.named_parameters() if p.requires_grad})
    assert any(tensor.abs().max() > 0 for name, tensor in changes[0].items() if "lora_B" in name)
    for name, tensor in changes[0].items():
        torch.testing.assert_close(changes[1][name], tensor, rtol=1e-4, atol=1e-6)
