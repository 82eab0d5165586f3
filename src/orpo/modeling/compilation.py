"""torch.compile for the parts of a layer, once for all layers and all lengths.

Attention stays outside of the compiled parts: it reads a description of each row that differs from batch to
batch, and its kernels are fused already.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from transformers import AttentionInterface, PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from orpo.errors import ConfigError
from orpo.modeling.attention import NAME, attend


def compile_layers(model: PreTrainedModel, *, backend: str | Callable[..., Any] = "inductor") -> None:
    """Compile the layers of `model`, for any number of tokens.

    Args:
        model: whose layers are transformers' `GradientCheckpointingLayer`s.
        backend: of torch.compile, by name or itself.

    Raises:
        ConfigError: the model has no such layers.
    """
    layers = [module for module in model.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ConfigError(
            f"training.compile: {type(model).__name__} has no layers that are known to compile",
            hint="Set training.compile=false.",
        )
    AttentionInterface.register(NAME, torch.compiler.disable(attend))
    for layer in layers:
        # Its parts rather than the layer, whose forward pass may be a checkpointed one.
        for part in layer.children():
            part.compile(dynamic=True, backend=backend)
