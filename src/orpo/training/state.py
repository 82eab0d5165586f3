"""The state of a run: what a checkpoint saves of its parts, and how they take it back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import torch
from torch import nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from orpo.ops.random import other_states, set_other_states, set_torch_states, torch_states
from orpo.training.budget import BudgetChange, TokenBudget
from orpo.training.callbacks import Callbacks
from orpo.training.checkpoint.contents import Contents, Own
from orpo.training.checkpoint.optimizer import optimizer_tensors, set_optimizer_tensors
from orpo.training.checkpoint.shards import read_for
from orpo.training.course import Course
from orpo.training.health import Health
from orpo.training.logs import Logs


@dataclass(frozen=True)
class RunState:
    """The parts of a run that change from step to step."""

    parameters: Mapping[str, nn.Parameter]
    """The trainable ones."""

    optimizer: Optimizer
    schedule: LRScheduler
    scaler: torch.amp.GradScaler
    budget: TokenBudget
    health: Health
    callbacks: Callbacks
    logs: Logs
    course: Course
    device: torch.device

    def contents(self) -> Contents:
        """All that it takes to go on exactly from here; between two steps."""
        state = {
            "step": self.callbacks.state.global_step,
            **self.course.state_dict(),
            "schedule": self.schedule.state_dict(),
            "learning_rates": [group["lr"] for group in self.optimizer.param_groups],
            "scaler": self.scaler.state_dict(),
            "budget": [asdict(change) for change in self.budget.changes],
            **self.logs.state_dict(),
            "health": self.health.state_dict(),
            "callbacks": self.callbacks.state_dict(),
        }
        return Contents(
            parameters=self.parameters,
            optimizer=optimizer_tensors(self.optimizer, self.parameters),
            state=state,
            own=Own(torch_states(self.device), other_states(), self.logs.window.means.sums),
        )

    def load(self, saved: Contents) -> Contents:
        """Take over what `contents` has given, but for what the beginning of training changes.

        A token budget other than the one that was in force becomes a change of it.

        Returns:
            What `load_rest` is to be given, without the large tensors.
        """
        state = saved.state
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(read_for(parameter, saved.parameters, name))
        set_optimizer_tensors(self.optimizer, self.parameters, saved.optimizer)
        self.schedule.load_state_dict(state["schedule"])
        for group, rate in zip(self.optimizer.param_groups, state["learning_rates"], strict=True):
            group["lr"] = rate
        self.scaler.load_state_dict(state["scaler"])
        self.budget.go_on_from([BudgetChange(**change) for change in state["budget"]], state["step"])
        self.course.load_state_dict(state, state["step"])
        self.health.load_state_dict(state["health"])
        self.callbacks.load_state_dict(state["callbacks"])
        return replace(saved, parameters={}, optimizer={})

    def load_rest(self, saved: Contents) -> None:
        """Take over the rest, once training has begun."""
        self.callbacks.load_control(saved.state["callbacks"])
        self.logs.load_state_dict(saved.state, saved.own.sums)
        set_torch_states(self.device, saved.own.generators)
        set_other_states(saved.own.other_generators)
