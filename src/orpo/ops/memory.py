"""Memory: in use, free, taken by a piece of work, and exhausted."""

from __future__ import annotations

import gc
import sys
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from orpo.batch import MicroBatch

if sys.platform != "win32":
    import resource

_EXHAUSTED = ("DefaultCPUAllocator: can't allocate memory", "MPS backend out of memory")
"""What devices say that have no exception type for it."""


# In use and free


def peak_memory_bytes(device: torch.device) -> int:
    """Most bytes held at once so far: by torch on a GPU, by the whole process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    if sys.platform == "win32":
        return psutil.Process().memory_info().peak_wset
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # the one counts bytes, the others kibibytes


def free_memory_bytes(device: torch.device) -> int:
    """Bytes that can still be allocated: on a GPU, or of the machine within its control group's limit."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return torch.cuda.mem_get_info(device)[0] + cached
    return min(psutil.virtual_memory().available, *_control_group_free_bytes())


def _control_group_free_bytes(
    membership: Path = Path("/proc/self/cgroup"), mount: Path = Path("/sys/fs/cgroup")
) -> Iterator[int]:
    """What each Linux control group that this process is in leaves of its limit; containers have one."""
    if not membership.exists():
        return
    for line in membership.read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers == "":  # version 2
            root, limit, usage = mount, "memory.max", "memory.current"
        elif "memory" in controllers.split(","):  # version 1
            root, limit, usage = mount / "memory", "memory.limit_in_bytes", "memory.usage_in_bytes"
        else:
            continue
        group = root / path.lstrip("/")
        for folder in (group, *(parent for parent in group.parents if parent.is_relative_to(root))):
            if (folder / limit).exists() and (most := (folder / limit).read_text().strip()) != "max":
                statistics = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
                used = int((folder / usage).read_text()) - int(statistics["inactive_file"])
                yield max(0, int(most) - used)


def release_memory(device: torch.device) -> None:
    """Give back what nothing refers to any more, reference cycles included."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


# Taken


def memory_meter(device: torch.device) -> Callable[[Callable[[], object]], int]:
    """A function that runs a piece of work and returns the most bytes it held beyond what is held now.

    On CUDA the allocator's peak.  Elsewhere the storages that operators return, as long as they live:
    scratch memory within a kernel is not seen.
    """
    if device.type == "cuda":
        before = torch.cuda.memory_allocated(device)

        def allocator_peak(work: Callable[[], object]) -> int:
            torch.cuda.reset_peak_memory_stats(device)
            work()
            peak = torch.cuda.max_memory_allocated(device) - before
            torch.cuda.reset_peak_memory_stats(device)
            return peak

        return allocator_peak

    def storages_peak(work: Callable[[], object]) -> int:
        with _LiveStorages() as storages:
            work()
        return storages.peak

    return storages_peak


class _LiveStorages(TorchDispatchMode):
    """Counts the bytes of storages from the operator that makes them to their end.

    Autograd's hooks on saved tensors would miss what an `autograd.Function` keeps by itself, such as the
    logits of the output head.
    """

    def __init__(self) -> None:
        super().__init__()
        self.peak = 0
        self._live = 0
        self._known: dict[int, weakref.ref[torch.UntypedStorage]] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        for tensor in _tensors((args, kwargs.values())):
            self._follow(tensor.untyped_storage(), counts=False)  # unless known, it is older than the work
        result = func(*args, **kwargs)
        for tensor in _tensors((result,)):
            self._follow(tensor.untyped_storage(), counts=True)
        return result

    def _follow(self, storage: torch.UntypedStorage, *, counts: bool) -> None:
        key, size = id(storage), storage.nbytes() if counts else 0
        if key in self._known:
            return

        def forget(_: object) -> None:
            del self._known[key]
            self._live -= size

        self._known[key] = weakref.ref(storage, forget)
        self._live += size
        self.peak = max(self.peak, self._live)


def _tensors(values: Iterable[Any]) -> Iterator[Tensor]:
    """The tensors in an operator's arguments or results, which may hold sequences of them."""
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
            yield from _tensors(value)


# Exhausted


class MicroBatchMemoryError(Exception):
    """A micro-batch of so many pairs and tokens did not fit into memory.

    Args:
        message: what the allocator said.
        pairs: of the micro-batch.
        tokens: of the micro-batch, padding included.
    """

    def __init__(self, message: str, *, pairs: int, tokens: int) -> None:
        super().__init__(message)
        self.message = message
        self.pairs = pairs
        self.tokens = tokens


@contextmanager
def naming_what_did_not_fit(batch: MicroBatch) -> Iterator[None]:
    """Around the passes of a micro-batch: say which one it was that memory did not suffice for.

    Raises:
        MicroBatchMemoryError: in place of the device's own error.
    """
    try:
        yield
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        raise MicroBatchMemoryError(
            out_of_memory_message(error), pairs=len(batch.weight), tokens=batch.input_ids.numel()
        ) from None


def is_out_of_memory(error: RuntimeError) -> bool:
    """Whether `error` is a device's way of saying that its memory does not suffice."""
    return isinstance(error, torch.OutOfMemoryError) or any(text in str(error) for text in _EXHAUSTED)


def out_of_memory_message(error: RuntimeError) -> str:
    """The line of an allocator's report that says what was asked for."""
    return str(error).splitlines()[0]
