"""Rows that several processes have written are read by any number of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from orpo.batch import Layout
from orpo.modeling.scorer import PairScorer
from orpo.ops.distributed import World, join_world
from orpo.ops.sharded import local, rows_held, whole
from orpo.training.checkpoint.shards import INDEX, open_shards, read_for, shard_names, write_shards
from orpo.training.checkpoint.tensors import open_tensors, write_tensors
from orpo.training.sharding import shard
from tests.tiny import tiny_llama

TENSORS = {
    "matrix": torch.arange(35.0).view(7, 5),
    "fewer rows than processes": torch.arange(4.0).view(2, 2).bfloat16(),
    "vector": torch.arange(9, dtype=torch.int16),
    "step": torch.tensor(3.0),
}


def write(folder: Path, processes: int) -> None:
    """`TENSORS` as so many processes would write them."""
    index: dict[str, dict[str, object]] = {}
    for name, tensor in TENSORS.items():
        index[name] = {"shape": list(tensor.shape)}
        if tensor.ndim:
            held = [rows_held(len(tensor), rank, processes) for rank in range(processes)]
            index[name]["rows"] = [[rows.start, rows.stop] for rows in held]
    (folder / INDEX).write_text(json.dumps({"part": index}))
    for rank in range(processes):
        own = {
            name: tensor[rows_held(len(tensor), rank, processes)] if tensor.ndim else tensor
            for name, tensor in TENSORS.items()
            if tensor.ndim or not rank
        }
        write_tensors(folder / f"part-{rank}.safetensors", own)


@pytest.mark.parametrize("processes", [1, 2, 3, 8])
def test_tensors_are_whole_again_and_their_rows_can_be_read_alone(tmp_path: Path, processes: int) -> None:
    write(tmp_path, processes)
    with open_shards(tmp_path, "part") as tensors:
        assert list(tensors) == list(TENSORS)
        for name, expected in TENSORS.items():
            assert torch.equal(tensors[name], expected)
            assert tensors[name].dtype == expected.dtype
            for rows in (slice(0, 0), slice(1, 2), slice(2, 7)):
                part = expected[rows] if expected.ndim else expected
                assert torch.equal(tensors.rows(name, rows), part), (name, rows)


def test_the_rows_of_a_whole_tensor_can_be_read_alone(tmp_path: Path) -> None:
    write_tensors(tmp_path / "file", TENSORS)
    with open_tensors(tmp_path / "file") as tensors:
        for name, expected in TENSORS.items():
            part = expected[1:2] if expected.ndim else expected
            assert torch.equal(tensors.rows(name, slice(1, 2)), part)


@pytest.mark.parametrize(("count", "processes"), [(7, 2), (2, 4), (8, 8), (1, 3), (0, 2), (9, 4)])
def test_processes_hold_every_row_once_as_torch_shares_them_out(count: int, processes: int) -> None:
    held = [rows_held(count, rank, processes) for rank in range(processes)]
    assert [row for rows in held for row in range(count)[rows]] == list(range(count))
    chunks = torch.arange(count).chunk(processes) if count else ()
    assert [rows.stop - rows.start for rows in held if rows.stop > rows.start] == [len(c) for c in chunks]


def test_what_is_written_of_a_shared_out_model_is_read_for_it_and_for_a_whole_one(tmp_path: Path) -> None:
    plain, shared = tiny_llama(), tiny_llama()
    with join_world(needs_group=True) as world:
        shard(PairScorer(shared, layout=Layout.PADDED, head=None), world, dtype=None, cpu_offload=False)
        parameters: dict[str, Tensor] = {name: p.detach() + 1 for name, p in shared.named_parameters()}
        write_shards(tmp_path, {"part": {**parameters, "step": torch.tensor(2.0)}}, world)
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(shard_names(["part"], 1))
        with open_shards(tmp_path, "part") as tensors:
            for name, parameter in shared.named_parameters():
                found = read_for(parameter, tensors, name)
                assert torch.equal(local(found), local(parameter) + 1)
                assert torch.equal(whole(found), dict(plain.named_parameters())[name] + 1)
            for name, parameter in plain.named_parameters():
                assert torch.equal(read_for(parameter, tensors, name), parameter + 1)
            number = read_for(next(shared.parameters()), tensors, "step")
            assert type(number) is Tensor
            assert number == 2


def test_only_the_main_process_writes_the_index_and_what_all_have_alike(tmp_path: Path) -> None:
    write_shards(tmp_path, {"part": {"step": torch.tensor(2.0)}}, World(1, 2, torch.device("cpu")))
    assert [path.name for path in tmp_path.iterdir()] == ["part-1.safetensors"]
    with open_tensors(tmp_path / "part-1.safetensors") as tensors:
        assert not len(tensors)
