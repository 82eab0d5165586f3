"""What trying a model out on a few tokens takes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

FAILURES = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)
"""What a model's code may raise when it is given what it does not expect."""


def unnoticed(model: PreTrainedModel) -> AbstractContextManager[None]:
    """Around passes that may draw random numbers: those of the run go on as if there had been none."""
    return torch.random.fork_rng([model.device] if model.device.type == "cuda" else [])


def by_embeddings(model: PreTrainedModel, forward: Callable[[], Tensor]) -> tuple[Tensor, Tensor]:
    """What a forward pass makes, and the input embeddings that its gradient can be taken by.

    Args:
        model: whose embeddings; no parameter gets a gradient before them.
        forward: runs `model` once.

    Raises:
        RuntimeError: it does not read them exactly once.
    """
    leaves: list[Tensor] = []

    def cut_off(_module: nn.Module, _args: object, output: Tensor) -> Tensor:
        leaves.append(output.detach().requires_grad_())
        return leaves[-1].clone()  # some models write over their embeddings

    with torch.enable_grad(), model.get_input_embeddings().register_forward_hook(cut_off):
        made = forward()
    if len(leaves) != 1:
        raise RuntimeError(f"the input embeddings are read {len(leaves)} times")
    return made, leaves[0]
