"""What a run refuses, says and leaves behind when it does not end as it should."""

from __future__ import annotations

import logging
import shutil
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    MixtralConfig,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from orpo.config import load_config
from orpo.errors import ConfigError, ResourceError
from orpo.run import TrainingResult, train
from orpo.rundir import RunDirectory
from orpo.training.loop import TrainingLoop
from tests.rows import rows
from tests.tiny import save_tiny_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base")


def run(
    base: Path,
    *overrides: str,
    callbacks: list[TrainerCallback] | None = None,
    resume: Literal["auto"] | None = None,
) -> TrainingResult:
    """Two steps over 16 pairs, into `run` beside the model."""
    config = {
        "model": str(base),
        "data": {"train": "rows"},
        "training": {"batch_size": 8, "max_steps": 2, "log_every": 1, "learning_rate": 1e-2},
        "output": str(base.with_name("run")),
    }
    return train(config, overrides=overrides, train_rows=rows(16), callbacks=callbacks or [], resume=resume)


class Raise(TrainerCallback):
    """Raises an error at the end of a step."""

    def __init__(self, error: BaseException, step: int = 1) -> None:
        self.error = error
        self.step = step

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        if state.global_step == self.step:
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


class ExhaustedOnce(TrainerCallback):
    """Lets memory run out in the second forward pass of the first evaluation."""

    def __init__(self) -> None:
        self.held: list[int] = []

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        kwargs["model"].base_model.register_forward_pre_hook(self.run_out, with_kwargs=True)

    def run_out(self, _module: object, _args: object, kwargs: dict[str, Any]) -> None:
        self.held.append(kwargs["input_ids"].numel())
        if len(self.held) == 2:
            torch.empty(2**50, dtype=torch.uint8)


def test_an_evaluation_that_runs_out_of_memory_halves_the_budget_for_the_rest_of_the_run(base: Path) -> None:
    exhausted = ExhaustedOnce()
    ran_out = run(base, "data.eval=0.5", "training.max_tokens=80", callbacks=[exhausted])
    halved = run(base, "data.eval=0.5", "training.max_tokens=40", f"output={base.with_name('halved')}")
    assert ran_out.summary["max_tokens"] == [
        {"step": 0, "tokens": 80, "why": "given"},
        {"step": 0, "tokens": 40, "why": "out of memory in evaluation"},
    ]
    assert max(exhausted.held[:2]) > 40 >= max(exhausted.held[2:]), "every pair has fewer than 40 tokens"
    metrics = [(result.path / "metrics.jsonl").read_bytes() for result in (ran_out, halved)]
    assert metrics[0] == metrics[1]


def test_what_was_left_of_a_given_budget_holds_after_resuming_unless_another_is_given(base: Path) -> None:
    options = ("data.eval=0.5", "training.checkpoint_every=1")
    with pytest.raises(KeyboardInterrupt):
        run(
            base,
            *options,
            "training.max_tokens=80",
            callbacks=[ExhaustedOnce(), Raise(KeyboardInterrupt(), step=2)],
        )
    folder = base.with_name("run")
    shutil.copytree(folder, folder.with_name("other"))
    resumed = run(base, *options, "training.max_tokens=80", resume="auto")
    assert [change["tokens"] for change in resumed.summary["max_tokens"]] == [80, 40]
    other = run(
        base, *options, "training.max_tokens=60", f"output={folder.with_name('other')}", resume="auto"
    )
    assert [change["tokens"] for change in other.summary["max_tokens"]] == [80, 40, 60]


def test_a_callback_that_needs_a_trainer_is_refused_before_anything_is_written(base: Path) -> None:
    class NeedsTrainer(TrainerCallback):
        def __init__(self, trainer: object) -> None:
            pass

    with pytest.raises(ConfigError, match=r"NeedsTrainer needs a transformers\.Trainer"):
        run(base, callbacks=[NeedsTrainer(None)])
    assert not base.with_name("run").exists()


def test_bfloat16_weights_are_updated_as_float32(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orpo"):
        result = run(base, "model.dtype=bfloat16")
    assert "bfloat16 products" in caplog.text
    assert "bfloat16 weights are updated as float32" in caplog.text
    assert {parameter.dtype for parameter in result.model.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(("given", "warned"), [((), True), (("training.learning_rate=1e-4",), False)])
def test_adapters_at_the_default_learning_rate_get_a_warning(
    base: Path, given: tuple[str, ...], warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    config = {
        "model": {"name": str(base), "lora": {"r": 2}},
        "data": {"train": "rows"},
        "training": {"batch_size": 8, "max_steps": 1},
        "output": str(base.with_name("run")),
    }
    with caplog.at_level(logging.WARNING, logger="orpo"):
        train(config, overrides=given, train_rows=rows(16))
    assert ("adapters usually take 1e-4 to 2e-4" in caplog.text) == warned


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (("model.quantization=nf4",), "nf4 weights cannot be trained, and model.lora is not set"),
        (
            ("model.quantization=nf4", "model.lora.r=2", "model.random_init=true"),
            "nf4 is for pretrained weights, not model.random_init",
        ),
    ],
)
def test_weights_that_would_be_trained_or_drawn_are_not_quantised(
    base: Path, overrides: tuple[str, ...], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(base, *overrides)
    assert not base.with_name("run").exists()


def test_qlora_from_a_config_to_a_merged_model(base: Path) -> None:
    pytest.importorskip("bitsandbytes")
    result = run(
        base, "model.quantization=nf4", "model.lora.r=2", "model.lora.dora=true", "model.lora.merge=true"
    )
    merged = AutoModelForCausalLM.from_pretrained(result.path / "model", dtype=torch.float32)
    ids = torch.tensor([[5, 6, 7]])
    with torch.no_grad():
        expected = result.model.eval()(input_ids=ids).logits
        torch.testing.assert_close(merged(input_ids=ids).logits, expected, rtol=1e-4, atol=1e-4)


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


def test_rows_in_memory_keep_what_says_how_to_read_them_and_nothing_of_where(base: Path) -> None:
    source = {"path": "gone", "split": "train", "where": {"n": "> 3"}}
    config = {
        "model": str(base),
        "data": {"train": source, "eval": ["gone", {"path": "gone too", "where": {"n": "< 0"}}]},
        "training": {"max_steps": 1},
        "output": str(base.with_name("run")),
    }
    numbered = [row | {"n": n} for n, row in enumerate(rows(8))]
    train(config, train_rows=numbered, eval_rows=numbered)
    stored = load_config(base.with_name("run") / "config.yaml")
    assert isinstance(stored.config.data.eval, tuple)
    (kept,), (replaced,) = stored.config.data.train, stored.config.data.eval
    assert (kept.path, kept.split, kept.where) == ("rows in memory", None, {"n": "> 3"})
    assert (replaced.path, replaced.where) == ("rows in memory", None)
    text = (base.with_name("run") / "config.yaml").read_text()
    assert text.count("path: rows in memory") == 2
    assert "gone" not in text
    record = RunDirectory(base.with_name("run")).read_definition()["data"]
    assert [record[use][0]["kept"] for use in ("train", "eval")] == [4, 8]


def save_mixture_of_experts(folder: Path) -> None:
    """In the place of the tiny model, with its tokenizer: a Mixtral with two of four experts a token."""
    dense = AutoConfig.from_pretrained(folder).to_dict()
    config = MixtralConfig(
        **{name: value for name, value in dense.items() if name not in ("model_type", "architectures")},
        num_local_experts=4,
        num_experts_per_tok=2,
        router_aux_loss_coef=0.02,
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def test_a_mixture_of_experts_adds_its_router_loss_and_says_so(
    base: Path, caplog: pytest.LogCaptureFixture
) -> None:
    save_mixture_of_experts(base)
    with caplog.at_level(logging.INFO, logger="orpo"):
        left = RunDirectory(run(base, "training.max_tokens=60").path)
    assert "router loss: load balancing of the experts, coefficient 0.02, the model's own" in caplog.text
    assert left.read_definition()["objective"]["router_loss"] == 0.02
    told = left.read_metrics("train")[-1]["router_loss"]
    assert told == pytest.approx(2, rel=0.2), "two experts for each token, which new routers share out"


def test_a_router_loss_of_zero_is_left_out(base: Path) -> None:
    save_mixture_of_experts(base)
    left = RunDirectory(run(base, "training.router_loss=0").path)
    assert "router_loss" not in left.read_definition()["objective"]
    assert "router_loss" not in left.read_metrics("train")[-1]
