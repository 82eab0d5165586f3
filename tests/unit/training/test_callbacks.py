"""transformers' callbacks see every event of training, and their flags are honoured."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from transformers import (
    EarlyStoppingCallback,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from orpo.errors import ConfigError
from orpo.rundir import RunDirectory
from orpo.training.callbacks import tracker_callbacks
from tests.loops import make_loop

EVENTS = [name for name in vars(TrainerCallback) if name.startswith("on_")]


class Recorder(TrainerCallback):
    """Counts every event and keeps what the last call of each was given."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.order: list[str] = []
        self.given: dict[str, dict[str, Any]] = {}

    def record(self, event: str, given: dict[str, Any]) -> None:
        self.counts[event] += 1
        self.order.append(event)
        self.given[event] = given


def _recording(event: str) -> Any:
    def method(
        self: Recorder, args: TrainingArguments, state: TrainerState, control: TrainerControl, **given: Any
    ) -> None:
        self.record(event, {"args": args, "step": state.global_step, **given})

    return method


for _event in EVENTS:
    setattr(Recorder, _event, _recording(_event))


def test_every_event_of_training_fires_in_order_and_as_often_as_it_should() -> None:
    recorder = Recorder()

    def evaluate(on_forward: Any) -> dict[str, float]:
        on_forward()
        return {"loss": 1.0, "rewards/accuracies": 0.5}

    loop = make_loop(
        evaluate=evaluate, epochs=2, log_every=3, eval_every=3, max_tokens=100, callbacks=[recorder]
    )
    loop.run()
    counts = recorder.counts
    assert counts["on_init_end"] == counts["on_train_begin"] == counts["on_train_end"] == 1
    assert counts["on_epoch_begin"] == counts["on_epoch_end"] == 2
    for per_step in ("on_step_begin", "on_pre_optimizer_step", "on_optimizer_step", "on_step_end"):
        assert counts[per_step] == 6, per_step
    assert counts["on_substep_end"] > 0
    assert counts["on_evaluate"] == counts["on_prediction_step"] == 3
    assert counts["on_log"] == 2 + 3
    never = {"on_predict", "on_push_begin", "on_save"}
    assert set(EVENTS) - set(counts) == never
    assert recorder.order[0] == "on_init_end"
    step = [e for e in recorder.order if e.startswith("on_") and "step" in e and "prediction" not in e]
    first = step[: step.index("on_step_end") + 1]
    assert [e for e in first if e != "on_substep_end"] == [
        "on_step_begin",
        "on_pre_optimizer_step",
        "on_optimizer_step",
        "on_step_end",
    ]


def test_callbacks_get_arguments_filled_from_ours_and_the_parts_of_the_run() -> None:
    recorder = Recorder()
    make_loop(
        callbacks=[recorder],
        max_steps=2,
        learning_rate=3e-4,
        weight_decay=0.1,
        seed=5,
        log_every=2,
        schedule="linear",
        batch_size=4,
    ).run()
    given = recorder.given["on_log"]
    args = given["args"]
    assert (args.learning_rate, args.weight_decay, args.seed, args.max_steps) == (3e-4, 0.1, 5, 2)
    assert (args.per_device_train_batch_size, args.lr_scheduler_type.value) == (4, "linear")
    assert given["model"] is not None
    assert given["optimizer"].param_groups
    assert {"loss", "learning_rate", "grad_norm", "epoch", "rewards/margins"} <= set(given["logs"])


class Commander(TrainerCallback):
    """Sets one control flag at one step."""

    def __init__(self, flag: str, step: int) -> None:
        self.flag, self.step = flag, step

    def on_step_end(  # pyright: ignore[reportIncompatibleMethodOverride]  transformers types it as None
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        if state.global_step == self.step:
            setattr(control, self.flag, True)
        return control


def test_should_training_stop_ends_training_and_logs_what_there_was(tmp_path: Path) -> None:
    loop = make_loop(
        run_dir=tmp_path, epochs=5, log_every=100, callbacks=[Commander("should_training_stop", 4)]
    )
    loop.run()
    assert loop.step == 4
    assert loop.course.last_train["loss"] > 0


def test_should_epoch_stop_goes_on_with_the_next_epoch() -> None:
    recorder = Recorder()
    loop = make_loop(max_steps=4, callbacks=[Commander("should_epoch_stop", 1), recorder])
    loop.run()
    assert loop.step == 4
    assert recorder.counts["on_epoch_begin"] == 2


def test_should_log_evaluate_and_save_are_honoured(tmp_path: Path) -> None:
    recorder, saved = Recorder(), []
    loop = make_loop(
        evaluate=lambda on_forward: {"loss": 1.0},
        save=lambda: saved.append(True),
        run_dir=tmp_path,
        checkpoint_every=None,
        max_steps=4,
        log_every=100,
        callbacks=[
            Commander("should_save", 2),
            type("Second", (Commander,), {})("should_evaluate", 3),
            type("Third", (Commander,), {})("should_log", 1),
            recorder,
        ],
    )
    loop.run()
    assert saved == [True], "the model is written at the end; `should_save` asks for a checkpoint"
    assert RunDirectory(tmp_path).checkpoints.steps() == [2]
    assert recorder.counts["on_save"] == 1
    assert [step for step, _ in loop.course.evaluations] == [0, 3, 4]
    assert recorder.counts["on_log"] == 3 + 2


class EpochEnd(TrainerCallback):
    """Asks for everything at the end of each epoch."""

    def on_epoch_end(  # pyright: ignore[reportIncompatibleMethodOverride]  transformers types it as None
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> TrainerControl:
        control.should_log = control.should_evaluate = control.should_save = True
        return control


def test_flags_set_at_the_end_of_an_epoch_are_honoured(tmp_path: Path) -> None:
    recorder = Recorder()
    loop = make_loop(
        evaluate=lambda on_forward: {"loss": 1.0},
        run_dir=tmp_path,
        epochs=3,
        log_every=100,
        checkpoint_every=None,
        callbacks=[EpochEnd(), recorder],
    )
    loop.run()
    assert [step for step, _ in loop.course.evaluations] == [0, 3, 6, 9]
    assert recorder.counts["on_save"] == 3
    assert recorder.counts["on_log"] == 3 + 4


def test_a_run_that_a_callback_stops_is_evaluated_where_it_stopped() -> None:
    loop = make_loop(
        evaluate=lambda on_forward: {"loss": 1.0},
        epochs=5,
        callbacks=[Commander("should_training_stop", 4)],
    )
    loop.run()
    assert [step for step, _ in loop.course.evaluations] == [0, 4]


def test_early_stopping_of_transformers_works() -> None:
    losses = iter([3.0, 2.0, 2.5, 2.6, 1.0, 1.0, 1.0])
    loop = make_loop(
        evaluate=lambda on_forward: {"loss": next(losses)},
        max_steps=6,
        eval_every=1,
        callbacks=[EarlyStoppingCallback(early_stopping_patience=2)],
    )
    loop.run()
    assert loop.step == 3


def test_a_callback_that_needs_a_trainer_is_refused_by_name() -> None:
    class WantsTrainer(TrainerCallback):
        def __init__(self, trainer: object) -> None:
            self.trainer = trainer

    with pytest.raises(ConfigError, match=r"WantsTrainer needs a transformers\.Trainer"):
        make_loop(callbacks=[WantsTrainer(None)])


def test_a_tracker_gets_the_run(tmp_path: Path) -> None:
    make_loop(run_dir=tmp_path, max_steps=2, log_every=1, callbacks=tracker_callbacks(["tensorboard"])).run()
    assert list(tmp_path.rglob("events.out.tfevents*"))


def test_an_unknown_tracker_is_named() -> None:
    with pytest.raises(ConfigError, match="report_to: tensorbord"):
        tracker_callbacks(["tensorbord"])
