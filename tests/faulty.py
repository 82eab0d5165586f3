"""Faults in the numbers of a training loop, for tests of what then happens."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.batch import Scores, Totals
from orpo.objectives import ORPO, ObjectiveOutput
from orpo.training.loop import TrainingLoop


class Poisoned(ORPO):
    """ORPO whose loss is multiplied by `factor` in the steps that the loop is made to poison."""

    factor = math.nan

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        output = super().__call__(scores, totals)
        loss = output.loss * self.factor
        metrics = output.metrics | {"loss": output.metrics["loss"] * loss.new_tensor([self.factor, 1.0])}
        return ObjectiveOutput(loss, metrics, supervised=output.supervised, preference=output.preference)


class InfiniteSlope(ORPO):
    """ORPO plus a term that is 0 and has no slope."""

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        output = super().__call__(scores, totals)
        zero = (scores.chosen * 0).sum()
        return ObjectiveOutput(output.loss + torch.sqrt(zero.abs()), output.metrics)


class AtSteps(TrainerCallback):
    """Gives a loop another objective in some steps, and keeps its weights and moments after each."""

    def __init__(self, steps: tuple[int, ...], objective: ORPO) -> None:
        self.steps = steps
        self.objective = objective
        self.loop: TrainingLoop | None = None
        self.usual: Any = None
        self.after: list[dict[str, Tensor]] = []

    def on_step_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        assert self.loop is not None
        loss = self.loop._gradient_step.plain
        self.usual = self.usual or loss.objective
        poisoned = state.global_step + 1 in self.steps
        loss.objective = self.objective if poisoned else self.usual

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        model, optimizer = kwargs["model"], kwargs["optimizer"]
        tensors = {f"weight {name}": p.detach().clone() for name, p in model.named_parameters()}
        for i, values in enumerate(optimizer.state.values()):
            tensors |= {f"state {i} {key}": torch.as_tensor(value).clone() for key, value in values.items()}
        self.after.append(tensors)


def poison(make: Callable[..., TrainingLoop], steps: tuple[int, ...], objective: ORPO, **given: Any) -> Any:
    """A loop with faults at `steps`, and the callback that has what it did."""
    callback = AtSteps(steps, objective)
    loop = make(callbacks=[callback, *given.pop("callbacks", [])], **given)
    callback.loop = loop
    return loop, callback
