"""A process on its own needs no group, and a group of somebody else's making is left alone.

What several processes do together is tested in tests/properties.
"""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from orpo.ops.distributed import World, join_world


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_launcher_there_is_one_process_and_no_group() -> None:
    with join_world() as world:
        assert (world.rank, world.size, world.is_main) == (0, 1, True)
        assert not dist.is_initialized()
        values = torch.tensor([1.0, 2.0])
        assert world.sum(values) is values
        assert values.tolist() == [1.0, 2.0]
        assert world.smallest(3) == world.agree(3) == 3
        world.wait()


def test_only_the_first_process_is_the_main_one() -> None:
    assert [World(rank, 3, torch.device("cpu")).is_main for rank in range(3)] == [True, False, False]


def test_a_group_that_exists_is_used_and_left_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    dist.init_process_group("gloo", init_method=f"file://{tmp_path / 'store'}", rank=0, world_size=1)
    try:
        with join_world() as world:
            assert (world.rank, world.size) == (0, 1)
        assert dist.is_initialized()
    finally:
        dist.destroy_process_group()
