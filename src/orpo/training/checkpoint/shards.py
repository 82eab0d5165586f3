"""Tensors that are shared out over processes, as files: each writes its rows, and any number of them reads.

`shards.json` says of each tensor of each part what its shape is and which of its rows `PART-K.safetensors`
has, so that a run goes on with another number of processes, or with whole tensors.  What is no DTensor, such
as a count of steps, is the same everywhere and is in the first process's file.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from orpo.files import replace_file
from orpo.ops.distributed import World
from orpo.ops.sharded import local, own_rows, rows_held, sharded_like
from orpo.training.checkpoint.tensors import TensorFile, open_tensors, write_tensors

INDEX = "shards.json"


def shard_names(parts: Iterable[str], processes: int) -> list[str]:
    """The files that `write_shards` writes on all processes together."""
    return [INDEX, *(_file(part, rank) for part in parts for rank in range(processes))]


def write_shards(folder: Path, parts: Mapping[str, Mapping[str, Tensor]], world: World) -> None:
    """Write this process's rows, and the index on the main one; each file outlasts a power cut from then on.

    Args:
        folder: which every process sees.
        parts: tensors by name, by what their files are called.
        world: this process among its peers, over which DTensors are shared out.

    Raises:
        OSError: the system refused.
    """
    for part, tensors in parts.items():
        own = {
            name: local(tensor)
            for name, tensor in tensors.items()
            if world.is_main or isinstance(tensor, DTensor)
        }
        write_tensors(folder / _file(part, world.rank), own)
    if world.is_main:
        index = {
            part: {name: _entry(tensor, world.size) for name, tensor in tensors.items()}
            for part, tensors in parts.items()
        }
        replace_file(folder / INDEX, json.dumps(index).encode(), durable=True)


def _entry(tensor: Tensor, processes: int) -> dict[str, Any]:
    """What the index says of a tensor."""
    entry: dict[str, Any] = {"shape": list(tensor.shape)}
    if isinstance(tensor, DTensor):
        held = [rows_held(len(tensor), rank, processes) for rank in range(processes)]
        entry["rows"] = [[rows.start, rows.stop] for rows in held]
    return entry


def _file(part: str, rank: int) -> str:
    return f"{part}-{rank}.safetensors"


@contextmanager
def open_shards(folder: Path, part: str) -> Iterator[ShardedTensors]:
    """The tensors of a part by name, each read when it is looked at, in the machine's memory."""
    index: dict[str, Any] = json.loads((folder / INDEX).read_bytes())[part]
    processes = max((len(entry.get("rows", ())) for entry in index.values()), default=1)
    with ExitStack() as files:
        opened = [files.enter_context(open_tensors(folder / _file(part, k))) for k in range(processes)]
        yield ShardedTensors(index, opened)


class ShardedTensors(Mapping[str, Tensor]):
    """Tensors whose rows are in several files.

    Args:
        index: the shape of each, and the rows of it that each file has.
        files: one for each process that wrote them.
    """

    def __init__(self, index: Mapping[str, Mapping[str, Any]], files: Sequence[TensorFile]) -> None:
        self._index = index
        self._files = files

    def rows(self, name: str, rows: slice) -> Tensor:
        """Some rows of a tensor, without reading the others; a single number as it is."""
        if "rows" not in self._index[name]:
            return self._files[0][name]
        parts: list[Tensor] = []
        for file, (start, stop) in zip(self._files, self._index[name]["rows"], strict=True):
            first, last = max(rows.start, start), min(rows.stop, stop)
            if first < last:
                parts.append(file.rows(name, slice(first - start, last - start)))
        return torch.cat(parts) if parts else self._files[0].rows(name, slice(0, 0))

    def __getitem__(self, name: str) -> Tensor:
        return self.rows(name, slice(0, next(iter(self._index[name]["shape"]), 0)))

    def __iter__(self) -> Iterator[str]:
        return iter(self._index)

    def __len__(self) -> int:
        return len(self._index)


def read_for(parameter: Tensor, tensors: Mapping[str, Tensor], name: str) -> Tensor:
    """A tensor that goes with a parameter, on its device: shared out as it is, unless it is a single number.

    Args:
        parameter: whole or shared out.
        tensors: of a checkpoint, whole or in shards, or as many in memory.
        name: of the tensor in `tensors`.
    """
    if not isinstance(parameter, DTensor):
        return tensors[name].to(parameter.device)
    if isinstance(tensors, TensorFile | ShardedTensors):
        value = tensors.rows(name, own_rows(parameter))
    else:
        value = tensors[name] if not tensors[name].ndim else tensors[name][own_rows(parameter)]
    value = value.to(parameter.device)
    return sharded_like(value, parameter) if value.ndim else value
