"""Memory is counted in bytes, and running out of it is told from other errors."""

from __future__ import annotations

import weakref
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from orpo.batch import Layout, MicroBatch, PromptTokens
from orpo.data.collate import collate
from orpo.ops import memory
from orpo.ops.memory import (
    MicroBatchMemoryError,
    free_memory_bytes,
    is_out_of_memory,
    memory_meter,
    naming_what_did_not_fit,
    peak_memory_bytes,
)
from tests.loops import random_pairs

CPU = torch.device("cpu")
KIB = 1024


def test_on_a_cpu_the_peak_is_that_of_the_process_in_bytes() -> None:
    resident = psutil.Process().memory_info().rss
    peak = peak_memory_bytes(CPU)
    assert 0.99 * resident <= peak <= psutil.virtual_memory().total


# Free


def control_group(
    tmp_path: Path, *, version: int, limits: dict[str, str], used: int = 5000, cached: int = 1000
) -> list[int]:
    """Free bytes for a process in the group `/job/task`, with `limits` by folder of the hierarchy."""
    root = tmp_path / "mount" if version == 2 else tmp_path / "mount" / "memory"
    names = ("memory.max", "memory.current")
    if version == 1:
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes")
    for folder, limit in limits.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder / names[0]).write_text(f"{limit}\n")
        (root / folder / names[1]).write_text(f"{used}\n")
        (root / folder / "memory.stat").write_text(f"active_file 7\ninactive_file {cached}\n")
    membership = tmp_path / "cgroup"
    lines = "0::/job/task\n" if version == 2 else "9:cpu,cpuacct:/\n4:memory:/job/task\n0::/\n"
    membership.write_text(lines)
    return list(memory._control_group_free_bytes(membership, tmp_path / "mount"))


@pytest.mark.parametrize("version", [1, 2])
def test_every_control_group_above_the_process_limits_it(tmp_path: Path, version: int) -> None:
    limits = {"job/task": "9000", "job": "12000"}
    assert control_group(tmp_path, version=version, limits=limits) == [5000, 8000]


@pytest.mark.parametrize("version", [1, 2])
def test_in_a_container_the_mount_itself_is_the_group(tmp_path: Path, version: int) -> None:
    assert control_group(tmp_path, version=version, limits={"": "9000"}) == [5000]


def test_a_control_group_without_a_limit_limits_nothing(tmp_path: Path) -> None:
    assert control_group(tmp_path, version=2, limits={"job/task": "max"}) == []


def test_a_control_group_above_its_limit_leaves_nothing(tmp_path: Path) -> None:
    assert control_group(tmp_path, version=2, limits={"job": "3000"}) == [0]


def test_systems_without_control_groups_are_not_limited_by_them(tmp_path: Path) -> None:
    assert list(memory._control_group_free_bytes(tmp_path / "none", tmp_path)) == []


def test_free_memory_is_the_machines_within_the_tightest_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 0 < free_memory_bytes(CPU) <= psutil.virtual_memory().total
    monkeypatch.setattr(memory, "_control_group_free_bytes", lambda: iter([8000, 5000]))
    assert free_memory_bytes(CPU) == 5000


# Taken


def floats(kib: int) -> Tensor:
    return torch.zeros(kib * KIB // 4)


def test_the_peak_of_a_piece_of_work_is_what_lives_at_once() -> None:
    def work() -> None:
        a = floats(10)
        b = a + 1  # 20 KiB
        del a
        c = torch.stack((b, b))  # 30 KiB, the peak
        del b
        c[0].exp()  # 20 KiB and 10 KiB

    meter = memory_meter(CPU)
    assert meter(work) == meter(work) == 30 * KIB


def test_what_was_there_before_and_views_of_it_count_for_nothing() -> None:
    before = floats(10)

    def work() -> None:
        before.add_(1).view(2, -1).mul_(2)
        list(before.split(256))

    assert memory_meter(CPU)(work) == 0


def test_what_autograd_saves_counts_until_the_backward_pass_has_used_it() -> None:
    weight = floats(10).requires_grad_()
    weight.grad = floats(10)

    def work() -> None:
        x = weight
        for _ in range(4):
            x = x.exp()  # saves its result
        x.sum().backward()

    held = memory_meter(CPU)(work)
    assert 5 * 10 * KIB <= held <= 7 * 10 * KIB


def test_what_a_function_keeps_by_itself_counts() -> None:
    class Keeps(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.kept = torch.stack([x] * 8)
            return x.clone()

        @staticmethod
        def backward(ctx: Any, *grads: Tensor) -> Tensor:
            return grads[0] * ctx.kept[0]

    weight = floats(10).requires_grad_()
    result: Tensor = weight
    assert memory_meter(CPU)(lambda: Keeps.apply(weight).sum()) >= 80 * KIB
    del result


def test_measuring_changes_no_result() -> None:
    x = torch.randn(2, 4, 8, 16, requires_grad=True)
    gradients: list[Tensor] = []

    def work() -> None:
        torch.nn.functional.scaled_dot_product_attention(x, x, x, is_causal=True).square().sum().backward()
        assert x.grad is not None
        gradients.append(x.grad)
        x.grad = None

    work()
    assert memory_meter(CPU)(work) > 0
    assert torch.equal(*gradients)


# Exhausted


def exhaust() -> Tensor:
    """Ask for more than any machine has."""
    return torch.empty(2**50, dtype=torch.uint8)


def micro_batch() -> MicroBatch:
    pairs = list(random_pairs(3))
    return collate(pairs, Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)


def test_what_devices_say_when_memory_runs_out_is_known() -> None:
    with pytest.raises(RuntimeError) as caught:
        exhaust()
    assert is_out_of_memory(caught.value)
    assert is_out_of_memory(torch.OutOfMemoryError("CUDA out of memory."))
    assert is_out_of_memory(RuntimeError("MPS backend out of memory (MPS allocated: 9.07 GB)"))
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_error_names_the_micro_batch_that_did_not_fit() -> None:
    batch = micro_batch()
    with pytest.raises(MicroBatchMemoryError) as caught, naming_what_did_not_fit(batch):
        exhaust()
    assert (caught.value.pairs, caught.value.tokens) == (3, batch.input_ids.numel())
    assert "can't allocate memory" in caught.value.message
    assert "\n" not in caught.value.message


def test_other_errors_pass_unchanged() -> None:
    fault = RuntimeError("a fault of ours")
    with pytest.raises(RuntimeError) as caught, naming_what_did_not_fit(micro_batch()):
        raise fault
    assert caught.value is fault


def test_nothing_of_the_failed_passes_outlives_the_error() -> None:
    alive: list[weakref.ref[Tensor]] = []

    def work() -> None:
        activations = floats(10)
        alive.append(weakref.ref(activations))
        with naming_what_did_not_fit(micro_batch()):
            exhaust()

    try:
        work()
    except MicroBatchMemoryError:
        assert alive[0]() is not None
    assert alive[0]() is None
