"""The files of a checkpoint: which process writes and reads which of them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor

from orpo.files import replace_file
from orpo.ops.distributed import World
from orpo.training.checkpoint.shards import INDEX, open_shards, shard_names, write_shards
from orpo.training.checkpoint.tensors import open_tensors, write_tensors

PARTS: tuple[str, ...] = ("parameters", "optimizer")
"""The tensors of `Contents`, and how their files begin."""

STATE = "state.json"


@dataclass(frozen=True)
class Own:
    """What the processes of a run differ in."""

    generators: Mapping[str, Tensor]
    """See `orpo.ops.random.torch_states`."""

    other_generators: Mapping[str, Any]
    """See `orpo.ops.random.other_states`."""

    sums: Mapping[str, Tensor]
    """Weighted sums of the metrics since the last row of the logs, in the order of the row."""


@dataclass(frozen=True)
class Contents:
    """What a checkpoint holds, as one process sees it."""

    parameters: Mapping[str, Tensor]
    """The trainable ones; those that are written may be shared out over the processes."""

    optimizer: Mapping[str, Tensor]
    """See `optimizer_tensors`; likewise."""

    state: Mapping[str, Any]
    """What is neither a tensor nor differs between processes; JSON."""

    own: Own

    @property
    def size(self) -> int:
        """Bytes of the tensors over all processes, which are nearly all of it."""
        return sum(tensor.nbytes for part in (self.parameters, self.optimizer) for tensor in part.values())

    @property
    def is_sharded(self) -> bool:
        """Whether each process has rows of the tensors."""
        return any(isinstance(tensor, DTensor) for tensor in self.parameters.values())


def file_names(processes: int, *, is_sharded: bool) -> list[str]:
    """The files that the processes of a run write together."""
    own = [f"rank-{rank}.{kind}" for rank in range(processes) for kind in ("safetensors", "json")]
    tensors = shard_names(PARTS, processes) if is_sharded else [f"{part}.safetensors" for part in PARTS]
    return [*tensors, STATE, *own]


def write_contents(folder: Path, contents: Contents, world: World) -> None:
    """Write this process's files, each of which outlasts a power cut from then on.

    Raises:
        OSError: the system refused.
    """
    parts = dict(zip(PARTS, (contents.parameters, contents.optimizer), strict=True))
    if contents.is_sharded:
        write_shards(folder, parts, world)
    elif world.is_main:
        for part, tensors in parts.items():
            write_tensors(folder / f"{part}.safetensors", tensors)
    if world.is_main:
        _write_json(folder / STATE, contents.state)
    own = contents.own
    generators = {f"generator/{name}": state for name, state in own.generators.items()}
    sums = {f"sum/{name}": value for name, value in own.sums.items()}
    write_tensors(folder / f"rank-{world.rank}.safetensors", generators | sums)
    _write_json(
        folder / f"rank-{world.rank}.json", {"generators": own.other_generators, "sums": list(own.sums)}
    )


@contextmanager
def read_contents(folder: Path, world: World, processes: int) -> Iterator[Contents]:
    """What a checkpoint holds for this process; parameters and optimizer are read when they are looked at.

    Args:
        folder: of a checkpoint that has been checked.
        world: this process among its peers.
        processes: how many wrote it.  If they were as many, this one gets what its predecessor had; else the
            generators are the first one's, and the first gets the sums of all.
    """
    owns = [_read_own(folder, rank) for rank in range(processes)]
    own = owns[world.rank] if processes == world.size else _shared(owns, world)
    with ExitStack() as files:
        if (folder / INDEX).exists():
            tensors = [files.enter_context(open_shards(folder, part)) for part in PARTS]
        else:
            tensors = [files.enter_context(open_tensors(folder / f"{part}.safetensors")) for part in PARTS]
        yield Contents(*tensors, state=_read_json(folder / STATE), own=own)


def _read_own(folder: Path, rank: int) -> Own:
    values = _read_json(folder / f"rank-{rank}.json")
    with open_tensors(folder / f"rank-{rank}.safetensors") as tensors:
        return Own(
            generators={
                name.removeprefix("generator/"): state
                for name, state in tensors.items()
                if name.startswith("generator/")
            },
            other_generators=values["generators"],
            sums={name: tensors[f"sum/{name}"] for name in values["sums"]},
        )


def _shared(owns: list[Own], world: World) -> Own:
    """What the processes of another number of them have between them."""
    first = owns[0]
    sums = {name: torch.stack([own.sums[name] for own in owns]).sum(0) for name in first.sums}
    if not world.is_main:
        sums = {name: torch.zeros_like(value) for name, value in sums.items()}
    return Own(first.generators, first.other_generators, sums)


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    replace_file(path, json.dumps(values).encode(), durable=True)


def _read_json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_bytes())
