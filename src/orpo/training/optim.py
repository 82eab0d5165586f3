"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from orpo.config.schema import TrainingSection
from orpo.errors import ConfigError


def make_optimizer(model: nn.Module, settings: TrainingSection) -> torch.optim.Optimizer:
    """AdamW over the trainable parameters, with decoupled decay on matrices only.

    Biases and norm scales are vectors and are not decayed.
    """
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trainable if p.ndim >= 2], "weight_decay": settings.weight_decay},
        {"params": [p for p in trainable if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=settings.learning_rate,
        betas=(settings.adam_beta1, settings.adam_beta2),
        eps=settings.adam_epsilon,
        fused=True,
    )


def unallocated_bytes(optimizer: torch.optim.Optimizer) -> int:
    """Bytes that AdamW's first step adds: a gradient and two moments of each parameter."""
    return 3 * sum(p.numel() * p.element_size() for group in optimizer.param_groups for p in group["params"])


def make_schedule(
    optimizer: torch.optim.Optimizer, settings: TrainingSection, total_steps: int
) -> LRScheduler:
    """The named schedule of transformers over `total_steps`, after a linear warm-up."""
    return get_scheduler(
        settings.schedule,
        optimizer,
        num_warmup_steps=warmup_steps(settings.warmup, total_steps),
        num_training_steps=total_steps,
    )


def warmup_steps(warmup: float, total_steps: int) -> int:
    """Steps of warm-up: a fraction of `total_steps` if below 1, else a count.

    Raises:
        ConfigError: the count leaves no step after the warm-up.
    """
    if warmup < 1:
        # The first step of a warm-up has a learning rate of 0, so a step must be left after it.
        return min(math.ceil(warmup * total_steps), total_steps - 1)
    steps = int(warmup)
    if steps >= total_steps:
        raise ConfigError(
            f"training.warmup: expected fewer steps than the whole run's {total_steps}, got {steps}",
            hint="Give a fraction such as 0.1, or train for longer.",
        )
    return steps
