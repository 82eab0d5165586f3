"""An optimizer's state by the names of its parameters."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from orpo.ops.sharded import sharded_like
from orpo.training.checkpoint.shards import read_for


def optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, Tensor]:
    """The state of each parameter, as NAME/KEY; of none before the first update."""
    return {
        f"{name}/{key}": _as_shared(value, parameter) if isinstance(value, Tensor) else _number(value)
        for name, parameter in parameters.items()
        for key, value in sorted(optimizer.state.get(parameter, {}).items())
    }


def set_optimizer_tensors(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter], tensors: Mapping[str, Tensor]
) -> None:
    """Go on from what `optimizer_tensors` has said, on the parameters' devices."""
    optimizer.state.clear()
    for full_name in tensors:
        name, _, key = full_name.rpartition("/")
        parameter = parameters[name]
        value = read_for(parameter, tensors, full_name)
        is_number = value.dtype == torch.int64 and not value.ndim
        optimizer.state[parameter][key] = int(value) if is_number else value


def _as_shared(value: Tensor, parameter: nn.Parameter) -> Tensor:
    """State of a parameter that is shared out, where an optimizer has been given this process's rows only."""
    if isinstance(parameter, DTensor) and not isinstance(value, DTensor) and value.ndim:
        return sharded_like(value, parameter)
    return value


def _number(value: int) -> Tensor:
    """A count of steps that an optimizer keeps on the host; where it is a tensor, it is one of float32."""
    assert isinstance(value, int), f"an optimizer's state holds a {type(value).__name__}"
    return torch.tensor(value, dtype=torch.int64)
