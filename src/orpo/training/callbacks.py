"""The `transformers.TrainerCallback` protocol, so that trackers and callbacks that people have keep working.

Callbacks see a `TrainingArguments` filled from our settings, a `TrainerState` and a `TrainerControl` whose
flags the loop honours.  The events are those of training: `on_predict` and `on_push_begin` have no occasion.
"""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from peft import PeftModel
from torch.optim.lr_scheduler import LRScheduler
from transformers import (
    DefaultFlowCallback,
    PreTrainedModel,
    PreTrainedTokenizerBase,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)
from transformers.integrations.integration_utils import get_reporting_integration_callbacks
from transformers.trainer_callback import CallbackHandler, ExportableState

from orpo.config.schema import TrainingSection
from orpo.errors import ConfigError
from orpo.ops.distributed import World

log = logging.getLogger(__name__)

_COURSE = (
    "epoch",
    "global_step",
    "num_input_tokens_seen",
    "total_flos",
    "log_history",
    "best_metric",
    "best_global_step",
    "best_model_checkpoint",
)
"""What a run changes in a TrainerState; the rest follows from its settings and from the process."""


def tracker_callbacks(names: Sequence[str]) -> list[TrainerCallback]:
    """The callbacks of trackers such as `tensorboard`, by their names in transformers.

    Raises:
        ConfigError: transformers knows no such tracker, or its package is not installed.
    """
    callbacks: list[TrainerCallback] = []
    for name in names:
        try:
            callbacks += [kind() for kind in get_reporting_integration_callbacks([name])]
        except ValueError as error:  # its text lists the trackers that there are
            raise ConfigError(f"training.report_to: {error}") from None
        except (RuntimeError, ImportError) as error:
            raise ConfigError(
                f"training.report_to: {name}: {error}",
                hint=f"Install its package, such as `pip install {name}`.",
            ) from None
    return callbacks


def refuse_trainer_bound(callbacks: Sequence[TrainerCallback]) -> None:
    """Refuse callbacks that work on a `transformers.Trainer`, which does not exist here.

    Raises:
        ConfigError: names the first such callback.
    """
    for callback in callbacks:
        parameters = inspect.signature(type(callback).__init__).parameters
        if "trainer" in parameters or "trainer" in vars(callback) or hasattr(callback, "set_trainer"):
            raise ConfigError(
                f"callback {type(callback).__name__} needs a transformers.Trainer, and orpo has its own loop",
                hint="Remove it, or write a TrainerCallback that uses only args, state, control and kwargs.",
            )


def training_arguments(
    settings: TrainingSection,
    *,
    output: str,
    total_steps: int,
    checkpoint_every: int | None,
    world: World,
    dtype: torch.dtype | None,
    evaluates: bool,
) -> TrainingArguments:
    """Our settings in the words of transformers, for callbacks to read."""
    on_cuda = world.device.type == "cuda"
    if world.size == 1:  # it warns of a process group of one
        logging.getLogger("transformers.training_args").addFilter(_is_not_about_groups)
    args = TrainingArguments(
        output_dir=output,
        run_name=output,
        per_device_train_batch_size=max(1, settings.batch_size // world.size),
        num_train_epochs=settings.epochs,
        max_steps=total_steps,
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup,
        weight_decay=settings.weight_decay,
        adam_beta1=settings.adam_beta1,
        adam_beta2=settings.adam_beta2,
        adam_epsilon=settings.adam_epsilon,
        max_grad_norm=settings.max_grad_norm or 0.0,
        bf16=on_cuda and dtype == torch.bfloat16,  # elsewhere transformers checks for hardware it knows
        fp16=on_cuda and dtype == torch.float16,
        seed=settings.seed,
        logging_steps=settings.log_every,
        eval_strategy="steps" if evaluates else "no",
        eval_steps=(settings.eval_every or total_steps) if evaluates else None,
        save_strategy="no" if checkpoint_every is None else "steps",
        save_steps=checkpoint_every or total_steps,
        metric_for_best_model="eval_loss",
        greater_is_better=False,
        report_to=list(settings.report_to) or "none",
        use_cpu=world.device.type == "cpu",
        disable_tqdm=True,
    )
    # Set afterwards: as an argument its name depends on the release of transformers, and one of them warns.
    args.gradient_checkpointing = bool(settings.gradient_checkpointing)
    args.optim = settings.optimizer  # ours are not all among transformers' names
    return args


def _is_not_about_groups(record: logging.LogRecord) -> bool:
    """Whether a warning of transformers is about anything but a process group, which FSDP needs."""
    return "process group is initialized" not in record.getMessage()


class Callbacks:
    """Calls every callback, with the state and the control that they share with the loop."""

    def __init__(
        self,
        callbacks: Sequence[TrainerCallback],
        *,
        args: TrainingArguments,
        model: PreTrainedModel | PeftModel,
        tokenizer: PreTrainedTokenizerBase,
        optimizer: torch.optim.Optimizer,
        scheduler: LRScheduler,
        total_steps: int,
        world: World,
    ) -> None:
        refuse_trainer_bound(callbacks)
        # DefaultFlowCallback sets the control's flags from the arguments, before other callbacks see them.
        self._handler = CallbackHandler(
            [DefaultFlowCallback(), *callbacks], model, tokenizer, optimizer, scheduler
        )
        self.args = args
        self.state = TrainerState(
            max_steps=total_steps,
            num_train_epochs=int(-(-args.num_train_epochs // 1)),
            is_local_process_zero=world.is_main,
            is_world_process_zero=world.is_main,
            train_batch_size=args.per_device_train_batch_size,
        )
        self.state.compute_steps(args, total_steps)
        self.control = TrainerControl()
        self.fire("on_init_end")

    def fire(self, event: str, **details: object) -> None:
        """Call `event` on every callback."""
        self.control = getattr(self._handler, event)(self.args, self.state, self.control, **details)

    def log(self, values: dict[str, float]) -> None:
        """Hand a row of values to the callbacks."""
        row = {"epoch": self.state.epoch or 0.0, **values}
        self.state.log_history.append({**row, "step": self.state.global_step})
        self.fire("on_log", logs=row)

    def evaluated(self, metrics: dict[str, float]) -> None:
        """Hand evaluation metrics, named `eval_...`, to the callbacks and keep the best loss."""
        self.log(dict(metrics))
        self.fire("on_evaluate", metrics=metrics)
        if self.state.best_metric is None or metrics["eval_loss"] < self.state.best_metric:
            self.state.best_metric = metrics["eval_loss"]
            self.state.best_global_step = self.state.global_step

    def state_dict(self) -> dict[str, Any]:
        """The state, the control, and what callbacks export of themselves, as JSON holds it.

        Raises:
            ConfigError: a callback exports what JSON does not hold.
        """
        exported: list[list[Any]] = []
        for callback in self._stateful():
            name, attributes = type(callback).__name__, callback.state()["attributes"]
            try:
                exported.append([name, json.loads(json.dumps(attributes))])
            except TypeError as error:
                raise ConfigError(
                    f"callback {name}: its state cannot be checkpointed: {error}",
                    hint="Let its `state()` return numbers, texts, lists and mappings of them.",
                ) from None
        return {
            "state": {name: getattr(self.state, name) for name in _COURSE},
            # What is being saved is no longer asked for.
            "control": {**vars(self.control), "should_save": False},
            "callbacks": exported,
        }

    def load_state_dict(self, saved: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` has said; the control only once training has begun."""
        for name, value in saved["state"].items():
            setattr(self.state, name, value)
        waiting = self._stateful()
        for name, attributes in saved["callbacks"]:
            callback = next((one for one in waiting if type(one).__name__ == name), None)
            if callback is None:
                log.warning("callback %s is in the checkpoint, but not in this run", name)
                continue
            waiting.remove(callback)
            for attribute, value in attributes.items():
                setattr(callback, attribute, value)
        for callback in waiting:
            log.warning(
                "callback %s has no state in the checkpoint, and begins anew", type(callback).__name__
            )

    def load_control(self, saved: Mapping[str, Any]) -> None:
        """The control's flags as they were; `on_train_begin` resets some."""
        for name, value in saved["control"].items():
            setattr(self.control, name, value)

    def _stateful(self) -> list[ExportableState]:
        return [one for one in self._handler.callbacks if isinstance(one, ExportableState)]
