"""The update rules that a run can name."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import torch
from torch.optim import Optimizer
from transformers import Adafactor

from orpo.config.schema import TrainingSection
from orpo.errors import ConfigError

Groups = list[dict[str, Any]]
"""PyTorch's parameter groups."""


@dataclass(frozen=True)
class Algorithm:
    """An update rule, and what it asks of a run."""

    make: Callable[[TrainingSection, Groups], Optimizer]
    """An optimizer of float32 parameters."""

    state_bytes: float
    """Bytes of state for each weight of a matrix."""

    layers_only: bool = False
    """Whether it is meant for the two-dimensional weights of a model's layers; AdamW takes the others."""

    reads_adam: bool = False
    """Whether the settings `adam_*` are its own."""

    takes_rows: bool = False
    """Whether it can be given rows of tensors that are shared out over processes (DTensors)."""


def _adamw(settings: TrainingSection, groups: Groups) -> Optimizer:
    return torch.optim.AdamW(groups, **_adam(settings), fused=True)


def _adamw_8bit(settings: TrainingSection, groups: Groups) -> Optimizer:
    return _bitsandbytes(settings).optim.AdamW8bit(groups, **_adam(settings))


def _lion(settings: TrainingSection, groups: Groups) -> Optimizer:
    return _bitsandbytes(settings).optim.Lion(groups, lr=settings.learning_rate)


def _lion_8bit(settings: TrainingSection, groups: Groups) -> Optimizer:
    return _bitsandbytes(settings).optim.Lion8bit(groups, lr=settings.learning_rate)


def _adafactor(settings: TrainingSection, groups: Groups) -> Optimizer:
    # The learning rate is taken as it is given, and the schedule's, as transformers' Trainer does.
    return Adafactor(groups, lr=settings.learning_rate, scale_parameter=False, relative_step=False)


def _muon(settings: TrainingSection, groups: Groups) -> Optimizer:
    # Scaled to the size of AdamW's updates, so that both parts can share a learning rate (arXiv:2502.16982).
    return torch.optim.Muon(groups, lr=settings.learning_rate, adjust_lr_fn="match_rms_adamw")


def _adam(settings: TrainingSection) -> dict[str, Any]:
    return {
        "lr": settings.learning_rate,
        "betas": (settings.adam_beta1, settings.adam_beta2),
        "eps": settings.adam_epsilon,
    }


def _bitsandbytes(settings: TrainingSection) -> ModuleType:
    """The package, which is not everybody's.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        import bitsandbytes  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise ConfigError(
            f"training.optimizer: {settings.optimizer} is bitsandbytes', which cannot be imported: {error}",
            hint='Install it with `pip install "orpo[bitsandbytes]"`, or use adamw or adafactor.',
        ) from None
    return bitsandbytes


ADAMW = Algorithm(_adamw, state_bytes=8, reads_adam=True, takes_rows=True)

ALGORITHMS: Mapping[str, Algorithm] = {
    "adamw": ADAMW,
    "adamw_8bit": Algorithm(_adamw_8bit, state_bytes=2, reads_adam=True),
    "adafactor": Algorithm(_adafactor, state_bytes=0),
    "lion": Algorithm(_lion, state_bytes=4),
    "lion_8bit": Algorithm(_lion_8bit, state_bytes=1),
    "muon": Algorithm(_muon, state_bytes=4, layers_only=True, reads_adam=True),
}
"""Values of `training.optimizer`."""
