"""The processes of a run: who this one is, sums over all of them, and an end that all of them come to.

`orpo.launch` says who started how many processes; one that is alone needs no process group.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import cast

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.distributed_c10d import Store
from torch.distributed.rendezvous import rendezvous

from orpo.errors import Interrupted, OrpoError, ResourceError
from orpo.launch import Launch, joinable, this_launch

_WORD = "orpo/ended"
"""Where the first process that ends says why, for the others."""


@dataclass(frozen=True)
class World:
    """This process among its peers."""

    rank: int
    size: int
    device: torch.device

    hosts: dist.ProcessGroup | None = None
    """The group in which the hosts agree, without their devices; None is the default group."""

    local_size: int | None = None
    """Processes on this machine; None: all."""

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that writes files and speaks."""
        return self.rank == 0

    @property
    def sharing_memory(self) -> int:
        """Processes of the run that live off this one's memory: one on a GPU, else all on this machine."""
        return 1 if self.device.type == "cuda" else self.local_size or self.size

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

    def agree(self, value: int) -> int:
        """The largest of the processes' numbers; the hosts wait for each other, and not for their devices."""
        if self.size == 1:
            return value
        values = torch.tensor(value)
        dist.all_reduce(values, dist.ReduceOp.MAX, group=self.hosts)
        return int(values)

    def wait(self) -> None:
        """Return once every process has come here."""
        if self.size > 1:
            dist.barrier(group=self.hosts)


def _device(launch: Launch) -> torch.device:
    if torch.cuda.is_available():
        seen = torch.cuda.device_count()
        # srun may let each process see one GPU, its own.
        index = 0 if launch.launcher == "srun" and seen == 1 else launch.local_rank
        if index >= seen:
            raise ResourceError(
                f"process {index} of this machine has no GPU of its own: there are {seen}",
                hint="Start as many processes as there are GPUs.",
            )
        torch.cuda.set_device(index)
        return torch.device("cuda", index)
    if torch.backends.mps.is_available():
        return torch.device("mps")
    return torch.device("cpu")


@contextmanager
def join_world(*, needs_group: bool = False) -> Iterator[World]:
    """Join the process group that the environment describes, and leave it at the end.

    Args:
        needs_group: whether a process that is alone gets a group too.

    Raises:
        ConfigError: see `joinable`.
        ResourceError: there are fewer GPUs than processes.
        Interrupted, ResourceError: another process has ended.
    """
    launch = this_launch() if dist.is_initialized() else joinable()
    device = _device(launch)
    if launch.size == 1 and not needs_group:
        yield World(rank=0, size=1, device=device)
        return
    if dist.is_initialized():
        yield _member(device, launch)
        return
    if launch.size == 1:
        store: Store = dist.HashStore()  # pyright: ignore[reportPrivateImportUsage]
    else:
        os.environ.update(launch.variables)  # which torchrun has set, and srun has not
        store, _, _ = next(iter(rendezvous("env://")))
    # What is offloaded to the host is added up there.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    dist.init_process_group(backend, store=store, rank=launch.rank, world_size=launch.size)
    try:
        with _ending_together(store, launch.rank):
            yield _member(device, launch)
    finally:
        dist.destroy_process_group()


def _member(device: torch.device, launch: Launch) -> World:
    hosts = None if dist.get_backend() == "gloo" else dist.new_group(backend="gloo")
    return World(
        dist.get_rank(),
        dist.get_world_size(),
        device,
        cast("dist.ProcessGroup | None", hosts),
        launch.local_size,
    )


@contextmanager
def _ending_together(store: Store, rank: int) -> Iterator[None]:
    """Leave word of what ends this process; where another one is gone, end with its word.

    Hosts exchange messages in every step, and one that is gone closes its connections, so the others notice
    at once.

    Raises:
        Interrupted, ResourceError: another process has ended.
    """
    try:
        yield
    except RuntimeError as error:
        if not _is_lost_peer(error):
            _leave_word(store, rank, error)
            raise
        raise _last_word(store) from None
    except BaseException as error:
        _leave_word(store, rank, error)
        raise


def _leave_word(store: Store, rank: int, error: BaseException) -> None:
    """Say to the other processes why this one ends, unless one has said so already: it was the first."""
    reason = error.message if isinstance(error, OrpoError) else str(error) or type(error).__name__
    word = {"interrupted": isinstance(error, Interrupted), "process": rank, "host": socket.gethostname()}
    with suppress(dist.DistError):  # the process that keeps the store may be gone
        store.compare_set(_WORD, "", json.dumps(word | {"reason": reason.splitlines()[0]}))


def _last_word(store: Store) -> Interrupted | ResourceError:
    found: bytes | None = None
    with suppress(dist.DistError):
        found = store.get(_WORD) if store.check([_WORD]) else None
    if found is None:
        return ResourceError(
            "another process of the run has ended without a word: it was killed, or its machine is gone",
            hint="Often memory ran out; the launcher's output may say more. With --resume auto the run goes "
            "on from its last checkpoint.",
        )
    word = json.loads(found)
    who = f"process {word['process']} on {word['host']}"
    if word["interrupted"]:
        return Interrupted(f"{word['reason']}, as {who} says")
    return ResourceError(f"{who} has ended: {word['reason']}", hint="Its own message says what to do.")


def _is_lost_peer(error: RuntimeError) -> bool:
    """Whether a collective failed because a peer is gone; gloo's errors have no type of their own."""
    return isinstance(error, dist.DistError) or "gloo/transport" in str(error)
