"""A model whose weights are shared out over processes, whole again on one of them, to be saved."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn

from orpo.ops.distributed import World
from orpo.ops.sharded import whole

M = TypeVar("M", bound=nn.Module)


def without_weights(model: M) -> M:
    """A copy of a model that takes no memory: its parameters are on the meta device, tied ones still tied."""
    stand_ins = {id(p): nn.Parameter(p.to("meta"), p.requires_grad) for p in model.parameters()}
    return copy.deepcopy(model, stand_ins)


def gathered(model: nn.Module, empty: M, world: World) -> M | None:
    """The whole model in the main process's memory; on every rank, since each has a share.

    Tensor by tensor: no other process ever holds more than one of them, nor does any device.

    Args:
        model: whose weights are shared out.
        empty: `without_weights` of it, from before; stays as it is.
        world: this process among its peers.

    Returns:
        The model on the CPU; None on every rank but the main one.
    """
    state: dict[str, Tensor] = {}
    known: dict[int, Tensor] = {}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in known:  # tied weights are one tensor, here and there
            known[id(tensor)] = _on_host(tensor, keep=world.is_main)
        state[name] = known[id(tensor)]
    if not world.is_main:
        return None
    filled = copy.deepcopy(empty)
    filled.load_state_dict(state, assign=True)
    return filled


def _on_host(tensor: Tensor, *, keep: bool) -> Tensor:
    """All of a tensor in the host's memory, on every rank; what is not kept is empty."""
    value = whole(tensor.detach())
    value = value.cpu() if keep else value.new_empty(0)
    return nn.Parameter(value, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else value
