"""Tensors of which each process holds some rows: the DTensors that FSDP2 makes, beside plain ones."""

from __future__ import annotations

from typing import cast

from torch import Tensor
from torch.distributed.tensor import DTensor, Shard


def local(tensor: Tensor) -> Tensor:
    """This process's rows, detached; all of a plain tensor."""
    own = tensor.detach()
    return own.to_local() if isinstance(own, DTensor) else own


def whole(tensor: Tensor) -> Tensor:
    """All of a tensor, on every process; of a DTensor, every process has to ask."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def rows_held(count: int, rank: int, processes: int) -> slice:
    """Which of `count` rows a process holds: PyTorch's rule for `Shard(0)`, that of `torch.chunk`."""
    size = -(-count // processes)
    return slice(min(rank * size, count), min((rank + 1) * size, count))


def own_rows(tensor: DTensor) -> slice:
    """Which rows this process holds."""
    assert tensor.placements == (Shard(0),), "FSDP2 shares out rows, over one dimension of processes"
    return rows_held(len(tensor), tensor.device_mesh.get_local_rank(), tensor.device_mesh.size())


def sharded_like(rows: Tensor, like: DTensor) -> DTensor:
    """The tensor of which each process holds `rows`, shared out as `like` is, of its shape."""
    made = DTensor.from_local(
        rows, like.device_mesh, like.placements, run_check=False, shape=like.shape, stride=like.stride()
    )
    return cast(DTensor, made)
