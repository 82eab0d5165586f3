"""The processes of a run: who this one is, and sums over all of them.

Started by `torchrun` (or anything that sets its environment variables), a run has WORLD_SIZE processes;
otherwise it has one and no process group.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from orpo.errors import ConfigError, ResourceError

_RENDEZVOUS = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""Environment variables that tell a process of several where the others are."""


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes files and speaks."""
        return self.rank == 0

    @property
    def sharing_memory(self) -> int:
        """Processes of the run that live off this one's memory: one on a GPU, else all on this machine."""
        return 1 if self.device.type == "cuda" else int(os.environ.get("LOCAL_WORLD_SIZE", self.size))

    def sum(self, values: Tensor) -> Tensor:
        """Element-wise sum over all processes, in place."""
        if self.size > 1:
            dist.all_reduce(values)
        return values

    def smallest(self, value: int) -> int:
        """The smallest of the processes' numbers."""
        if self.size == 1:
            return value
        values = torch.tensor(value, device=self.device)
        dist.all_reduce(values, dist.ReduceOp.MIN)
        return int(values)

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.size > 1:
            dist.barrier()


def _device(local_rank: int) -> torch.device:
    if torch.cuda.is_available():
        if local_rank >= torch.cuda.device_count():
            raise ResourceError(
                f"process {local_rank} of this machine has no GPU of its own: there are "
                f"{torch.cuda.device_count()}",
                hint="Start as many processes as there are GPUs.",
            )
        torch.cuda.set_device(local_rank)
        return torch.device("cuda", local_rank)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def join_world() -> Iterator[World]:
    """Join the process group that the environment describes, and leave it at the end."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = _device(int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield World(rank=0, size=1, device=device)
        return
    owns_group = not dist.is_initialized()
    if owns_group:
        if missing := [name for name in _RENDEZVOUS if name not in os.environ]:
            raise ConfigError(
                f"WORLD_SIZE is {size}, but {', '.join(missing)} is not set",
                hint="Start several processes with torchrun; for one process, unset WORLD_SIZE.",
            )
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield World(rank=dist.get_rank(), size=dist.get_world_size(), device=device)
    finally:
        if owns_group:
            dist.destroy_process_group()
