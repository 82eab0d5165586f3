"""Optimizer and learning-rate schedule."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn
from torch.distributed.tensor import DTensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from transformers import get_scheduler

from orpo.config.schema import TrainingSection
from orpo.errors import ConfigError
from orpo.ops.sharded import local
from orpo.training.optimizers.algorithms import ADAMW, ALGORITHMS, Algorithm, Groups
from orpo.training.optimizers.combined import Combined
from orpo.training.optimizers.split import EXTRA_BYTES, WORKING_BYTES, SplitWeights


def make_optimizer(model: nn.Module, settings: TrainingSection) -> Optimizer:
    """The named optimizer over the trainable parameters, with decoupled decay on matrices only.

    Biases and norm scales are vectors and are not decayed.  Weights of bfloat16 are updated as float32.

    Raises:
        ConfigError: its package is missing, a setting is not its own, weights are float16, or weights are
            shared out and it needs whole tensors.
    """
    _refuse_foreign_settings(settings)
    _refuse_parts_of_tensors(model, settings)
    parts = [_part(share, settings) for share in _shares(model, settings)]
    if len(parts) == 1 and isinstance(parts[0], torch.optim.AdamW):
        return parts[0]
    return Combined(parts)


def unallocated_bytes(optimizer: Optimizer) -> int:
    """Bytes that an optimizer's first step adds here: gradients, its state, and what it works with."""
    trained = [(local(p), group[STATE_BYTES]) for group in optimizer.param_groups for p in group["params"]]
    widest = max((p.numel() for p, _ in trained if p.dtype == torch.bfloat16), default=0)
    return int(sum(p.nbytes + p.numel() * state for p, state in trained)) + WORKING_BYTES * widest


def state_bytes(model: nn.Module, settings: TrainingSection) -> int:
    """Bytes of the optimizer's state over all processes that share the weights out, as good as: what it keeps
    of vectors and of whole tensors is little."""
    groups = [group for share in _shares(model, settings) for group in share.groups]
    return int(sum(p.numel() * group[STATE_BYTES] for group in groups for p in group["params"]))


STATE_BYTES = "state_bytes"
"""Key of a parameter group: bytes of state for each of its weights."""


@dataclass(frozen=True)
class _Share:
    """Parameters that are updated by one rule."""

    algorithm: Algorithm
    groups: Groups

    is_split: bool
    """Whether they are bfloat16."""


def _shares(model: nn.Module, settings: TrainingSection) -> list[_Share]:
    """Who updates which parameters; shares and groups without any are left out."""
    named = ALGORITHMS[settings.optimizer]
    in_layers = {
        id(p) for layers in model.modules() if isinstance(layers, nn.ModuleList) for p in layers.parameters()
    }
    members: dict[tuple[bool, bool, bool], list[nn.Parameter]] = {}
    for p in (p for p in model.parameters() if p.requires_grad):
        is_other = named.layers_only and not (p.ndim == 2 and id(p) in in_layers)
        members.setdefault((is_other, p.dtype == torch.bfloat16, p.ndim < 2), []).append(p)
    shares: dict[tuple[bool, bool], _Share] = {}
    for (is_other, is_split, is_vector), parameters in sorted(members.items(), key=lambda item: item[0]):
        algorithm = ADAMW if is_other else named
        share = shares.setdefault((is_other, is_split), _Share(algorithm, [], is_split))
        group = {
            "params": parameters,
            "weight_decay": 0.0 if is_vector else settings.weight_decay,
            STATE_BYTES: algorithm.state_bytes + (EXTRA_BYTES if is_split else 0),
        }
        share.groups.append(group)
    return list(shares.values())


def _part(share: _Share, settings: TrainingSection) -> Optimizer:
    """The optimizer of a share."""
    if any(p.dtype == torch.float16 for group in share.groups for p in group["params"]):
        raise ConfigError(
            "model.dtype: float16 weights cannot be trained: small gradients are 0 in it",
            hint="Use model.dtype=bfloat16, which is updated as float32, or float32.",
        )
    make = partial(share.algorithm.make, settings)
    return SplitWeights(share.groups, make) if share.is_split else make(share.groups)


def _refuse_foreign_settings(settings: TrainingSection) -> None:
    """Refuse settings of Adam for an algorithm that has none of these.

    Raises:
        ConfigError: names the first of them.
    """
    if ALGORITHMS[settings.optimizer].reads_adam:
        return
    for name in ("adam_beta1", "adam_beta2", "adam_epsilon"):
        value = getattr(settings, name)
        if value != TrainingSection.model_fields[name].default:
            raise ConfigError(
                f"training.{name}: {settings.optimizer} has no such setting, got {value}",
                hint="Leave it out; it is used with its authors' own coefficients.",
            )


def _refuse_parts_of_tensors(model: nn.Module, settings: TrainingSection) -> None:
    """Refuse weights that are shared out for an algorithm that looks at more than one of them at a time.

    Raises:
        ConfigError: names those that do not.
    """
    is_sharded = any(isinstance(p, DTensor) for p in model.parameters())
    if is_sharded and not ALGORITHMS[settings.optimizer].takes_rows:
        able = " or ".join(name for name, one in ALGORITHMS.items() if one.takes_rows)
        raise ConfigError(
            f"training.optimizer: {settings.optimizer} needs whole tensors, and training.parallel: fsdp "
            "leaves rows of them to each process",
            hint=f"Use {able}, whose state is shared out too, or training.parallel=ddp.",
        )


def make_schedule(optimizer: Optimizer, settings: TrainingSection, total_steps: int) -> LRScheduler:
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
