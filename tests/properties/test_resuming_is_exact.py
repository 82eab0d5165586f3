"""A run that goes on from a checkpoint leaves the bytes that it would have left without having stopped.

Killed processes are in `tests/faults`; here a run goes on from each of its checkpoints, in many settings.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.trainer_callback import ExportableState

from orpo.errors import ConfigError
from orpo.modeling.kinds import LANGUAGE_MODEL
from orpo.modeling.lora import add_lora
from orpo.objectives import KTO, ORPO
from orpo.rundir import RunDirectory
from orpo.training.loop import TrainingLoop
from tests.loops import make_loop, random_pairs
from tests.tiny import tiny_llama

FIVE_STEPS: dict[str, Any] = {"max_steps": 5, "log_every": 2, "checkpoint_every": 1, "keep_checkpoints": None}


def adapters() -> Any:
    """LoRA with dropout, which draws random numbers in every forward pass."""
    model = tiny_llama(initializer_range=0.2)
    return add_lora(model, r=2, alpha=4, dropout=0.3, target="all-linear", kind=LANGUAGE_MODEL)


def losses(*values: float) -> Callable[[Callable[[], None]], dict[str, float]]:
    """An evaluation that gives these losses, by step."""

    def evaluate(_: Callable[[], None]) -> dict[str, float]:
        return {"loss": values[made[-1].step]}

    return evaluate


made: list[TrainingLoop] = []
"""The loops of a test; the last one is running."""


def loop(folder: Path, *, resume: bool = False, **settings: Any) -> TrainingLoop:
    if settings.pop("lora", False):
        settings["model"] = adapters()
    if settings.pop("narrow", False):
        settings["model"] = tiny_llama(initializer_range=0.2).bfloat16()
    settings["callbacks"] = [kind() for kind in settings.pop("kinds", ())]
    made.append(make_loop(run_dir=folder, resume=resume, **settings))
    return made[-1]


def left_by(folder: Path) -> dict[str, bytes]:
    """What has to be the same: the rows of the log, and the tensors of the last checkpoint."""
    run = RunDirectory(folder)
    last = run.checkpoints.at(run.checkpoints.steps()[0])
    files = [folder / "metrics.jsonl", *last.glob("*.safetensors")]
    return {f"{path.parent.name}/{path.name}".removeprefix(folder.name): path.read_bytes() for path in files}


def goes_on_exactly(tmp_path: Path, **settings: Any) -> None:
    """Run to the end, and again from each checkpoint."""
    whole = tmp_path / "whole"
    loop(whole, **settings).run()
    steps = RunDirectory(whole).checkpoints.steps()
    assert len(steps) > 2
    for step in steps:
        again = tmp_path / f"from-{step}"
        shutil.copytree(whole, again)
        RunDirectory(again).checkpoints.remove_after(step)
        resumed = loop(again, resume=True, **settings)
        assert resumed.step == step
        resumed.run()
        assert resumed.course.resumed == [step]
        assert left_by(again) == left_by(whole), f"from step {step}"


SETTINGS: dict[str, dict[str, Any]] = {
    "full fine-tuning": {},
    "adapters with dropout": {"lora": True, "max_tokens": 60},
    "rows of the log span checkpoints and epochs": {"log_every": 4},
    "bfloat16": {"precision": "bfloat16"},
    "bfloat16 weights": {"narrow": True, "learning_rate": 8e-6},
    "Muon, and AdamW for the rest": {"optimizer": "muon"},
    "Adafactor": {"optimizer": "adafactor"},
    "KTO with its divergence": {"objective": KTO(), "batch_size": 4},
    "rows without a pair": {"pairs": random_pairs(20, mixed=True)},
    "several schedules": {"schedule": "cosine_with_restarts", "warmup": 2},
    "the file's order": {"shuffle": False},
    "a budget in micro-batches": {"max_tokens": 50, "layout": "auto"},
    "evaluations": {"evaluate": losses(5, 4, 3, 3, 2, 1), "eval_every": 2},
    "the best step is kept": {"evaluate": losses(5, 4, 3, 2, 2, 3), "eval_every": 1, "select": "best"},
}


@pytest.mark.parametrize("name", SETTINGS)
def test_going_on_from_any_checkpoint_is_exact(tmp_path: Path, name: str) -> None:
    goes_on_exactly(tmp_path, **(FIVE_STEPS | SETTINGS[name]))


def test_the_scale_of_float16_s_gradients_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins so high that the first steps overflow, and halves with each of them."""
    monkeypatch.setattr(torch.amp, "GradScaler", partial(torch.amp.GradScaler, init_scale=2.0**19))
    goes_on_exactly(tmp_path, **(FIVE_STEPS | {"precision": "float16"}))


class Stops(TrainerCallback, ExportableState):
    """Ends each epoch after its second step, and training after its fifth; counts what it has seen."""

    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.seen.append(f"epoch {state.global_step}")

    def on_epoch_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.seen.append(f"end {state.global_step}")

    def on_step_end(  # pyright: ignore[reportIncompatibleMethodOverride]  transformers types it as None
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        self.seen.append(f"step {state.global_step}")
        control.should_epoch_stop = state.global_step % 2 == 0
        control.should_training_stop = state.global_step == 5
        return control

    def state(self) -> dict[str, Any]:
        return {"args": {}, "attributes": {"seen": self.seen}}


def test_what_callbacks_have_decided_and_remember_goes_on(tmp_path: Path) -> None:
    settings = FIVE_STEPS | {"max_steps": 50, "kinds": [Stops]}
    goes_on_exactly(tmp_path, **settings)
    seen = [one._callbacks._stateful()[0].state()["attributes"]["seen"] for one in made[-6:]]
    assert seen == [seen[0]] * 6
    assert seen[0][:7] == ["epoch 0", "step 1", "step 2", "end 2", "epoch 2", "step 3", "step 4"]


def test_early_stopping_keeps_its_count(tmp_path: Path) -> None:
    evaluate = losses(9, 3, 4, 4, 4, 4, 4, 4)
    settings = FIVE_STEPS | {"max_steps": 7, "eval_every": 1, "evaluate": evaluate}
    goes_on_exactly(tmp_path, **settings, kinds=[lambda: EarlyStoppingCallback(early_stopping_patience=3)])
    assert made[-1].step == 4


def test_a_callback_whose_state_is_not_json_is_refused_by_name(tmp_path: Path) -> None:
    class Opaque(TrainerCallback, ExportableState):
        def state(self) -> dict[str, Any]:
            return {"args": {}, "attributes": {"thing": object()}}

    with pytest.raises(ConfigError, match="callback Opaque: its state cannot be checkpointed"):
        loop(tmp_path, **FIVE_STEPS, kinds=[Opaque]).run()


def test_another_budget_changes_rounding_only_and_is_on_record(tmp_path: Path) -> None:
    settings: dict[str, Any] = FIVE_STEPS | {"max_steps": 4}
    first = loop(tmp_path, **settings, max_tokens=200)
    first.run()
    RunDirectory(tmp_path).checkpoints.remove_after(2)
    second = loop(tmp_path, resume=True, **settings, max_tokens=60)
    second.run()
    changes = [(change.step, change.tokens, change.why) for change in second.budget.changes]
    assert changes == [(0, 200, "given"), (2, 60, "given, on resuming")]
    assert second.course.last_train["loss"] == pytest.approx(first.course.last_train["loss"], rel=1e-5)


def test_a_checkpoint_is_made_as_often_as_asked_at_the_end_and_not_twice(tmp_path: Path) -> None:
    for every, steps in (("auto", [12, 10]), (5, [12, 10]), (None, [])):
        folder = tmp_path / str(every)
        one = loop(folder, max_steps=12, batch_size=20, checkpoint_every=every)
        one.run()
        assert RunDirectory(folder).checkpoints.steps() == steps
        assert one.course.saved_step == (steps[0] if steps else None)
    one.checkpoint()
    assert RunDirectory(folder).checkpoints.steps() == [12]


def test_the_best_step_is_kept_beside_the_newest(tmp_path: Path) -> None:

    evaluate = losses(9, 5, 1, 6, 6, 6)
    settings: dict[str, Any] = {"max_steps": 5, "checkpoint_every": 1, "eval_every": 1, "select": "best"}
    loop(tmp_path, evaluate=evaluate, objective=ORPO(0.1), **settings).run()
    assert RunDirectory(tmp_path).checkpoints.steps() == [5, 4, 2]
