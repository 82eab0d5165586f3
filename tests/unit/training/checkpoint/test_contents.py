"""Every process finds what it wrote; another number of processes finds what the first ones had together."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orpo.ops.distributed import World
from orpo.training.checkpoint.contents import Contents, Own, file_names, read_contents, write_contents

CPU = torch.device("cpu")


def contents(rank: int) -> Contents:
    return Contents(
        parameters={"w": torch.arange(4.0)},
        optimizer={"w/exp_avg": torch.ones(4)},
        state={"step": 3, "nested": {"rate": 1e-05 / 3}},
        own=Own(
            generators={"cpu": torch.tensor([rank], dtype=torch.uint8)},
            other_generators={"python": [rank]},
            sums={"z loss": torch.tensor([1.0 + rank, 2.0]), "accuracy": torch.tensor([0.5, 1.0])},
        ),
    )


@pytest.fixture
def two(tmp_path: Path) -> Path:
    """What two processes wrote."""
    for rank in range(2):
        write_contents(tmp_path, contents(rank), World(rank, 2, CPU))
    return tmp_path


def test_the_files_are_those_that_are_named(two: Path) -> None:
    assert sorted(path.name for path in two.iterdir()) == sorted(file_names(2, is_sharded=False))
    assert {Path(name).suffix for name in file_names(3, is_sharded=True)} == {".safetensors", ".json"}


@pytest.mark.parametrize("rank", [0, 1])
def test_as_many_processes_get_their_own_back(two: Path, rank: int) -> None:
    with read_contents(two, World(rank, 2, CPU), 2) as read:
        assert read.state == contents(rank).state
        assert torch.equal(read.parameters["w"], torch.arange(4.0))
        assert torch.equal(read.optimizer["w/exp_avg"], torch.ones(4))
    assert read.own.generators["cpu"].tolist() == [rank]
    assert read.own.other_generators == {"python": [rank]}
    assert list(read.own.sums) == ["z loss", "accuracy"], "the order of a row of the logs"
    assert read.own.sums["z loss"].tolist() == [1.0 + rank, 2.0]


@pytest.mark.parametrize("size", [1, 3])
def test_another_number_of_processes_has_the_same_sums_between_them(two: Path, size: int) -> None:
    total = torch.zeros(2)
    for rank in range(size):
        with read_contents(two, World(rank, size, CPU), 2) as read:
            total += read.own.sums["z loss"]
            assert list(read.own.sums) == ["z loss", "accuracy"]
            assert read.own.generators["cpu"].tolist() == [0]
    assert total.tolist() == [3.0, 4.0]


def test_the_size_is_that_of_the_tensors() -> None:
    assert contents(0).size == 32
