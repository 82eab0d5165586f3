"""The backend of every kind of attention on every kind of machine, and autocast before all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from orpo.ops.attention import backends
from orpo.ops.attention.backends import Backend, Kernels, choose_backend, packed_row_attention
from orpo.ops.attention.blocks import block_attention
from tests.unit.ops.attention.rows import random_row, shared_layout

HOPPER = Kernels(flash=True, windows=True, flash_attn=False, triton=True)
WITH_FLASH_ATTN = replace(HOPPER, flash_attn=True)
TORCH_2_10 = replace(HOPPER, windows=False)
TURING = Kernels(flash=False, windows=True, flash_attn=False, triton=True)
WINDOWS_PC = replace(HOPPER, triton=False)

PLAIN = {
    "device": "cuda",
    "dtype": torch.bfloat16,
    "head_size": 64,
    "value_size": 64,
    "scale": 0.125,
    "window": None,
    "softcap": False,
    "sinks": False,
    "tokens": 5000,
}

TABLE: list[tuple[str, dict[str, Any], Kernels | None, Backend]] = [
    ("CPU", {"device": "cpu"}, None, Backend.CPU),
    ("CPU, float64 and a window", {"device": "cpu", "dtype": torch.float64, "window": 7}, None, Backend.CPU),
    ("CPU, capped", {"device": "cpu", "softcap": True}, None, Backend.BLOCKS),
    ("CPU, sinks", {"device": "cpu", "sinks": True}, None, Backend.BLOCKS),
    ("CPU, values of another size", {"device": "cpu", "value_size": 32}, None, Backend.BLOCKS),
    ("another device", {"device": "mps"}, None, Backend.BLOCKS),
    ("plain", {}, HOPPER, Backend.VARLEN),
    ("float16", {"dtype": torch.float16}, HOPPER, Backend.VARLEN),
    ("plain, flash_attn too", {}, WITH_FLASH_ATTN, Backend.VARLEN),
    ("head of 256", {"head_size": 256, "value_size": 256, "scale": 1 / 16}, HOPPER, Backend.VARLEN),
    ("window", {"window": 7}, HOPPER, Backend.VARLEN),
    ("unusual scale", {"scale": 0.1}, HOPPER, Backend.VARLEN),
    ("plain, torch 2.10", {}, TORCH_2_10, Backend.VARLEN),
    ("window, torch 2.10", {"window": 7}, TORCH_2_10, Backend.FLEX),
    ("scale, torch 2.10", {"scale": 0.1}, TORCH_2_10, Backend.FLEX),
    (
        "window, torch 2.10, flash_attn",
        {"window": 7},
        replace(TORCH_2_10, flash_attn=True),
        Backend.FLASH_ATTN,
    ),
    ("capped", {"softcap": True}, HOPPER, Backend.FLEX),
    ("capped, flash_attn", {"softcap": True}, WITH_FLASH_ATTN, Backend.FLASH_ATTN),
    ("sinks", {"sinks": True}, HOPPER, Backend.FLEX),
    ("sinks, flash_attn", {"sinks": True}, WITH_FLASH_ATTN, Backend.FLEX),
    ("float32", {"dtype": torch.float32}, WITH_FLASH_ATTN, Backend.FLEX),
    ("float64", {"dtype": torch.float64}, WITH_FLASH_ATTN, Backend.BLOCKS),
    ("head of 512", {"head_size": 512, "value_size": 512}, WITH_FLASH_ATTN, Backend.FLEX),
    ("head of 20", {"head_size": 20, "value_size": 20}, WITH_FLASH_ATTN, Backend.FLEX),
    ("float32, less than a tile", {"dtype": torch.float32, "tokens": 127}, HOPPER, Backend.BLOCKS),
    ("float32, a tile", {"dtype": torch.float32, "tokens": 128}, HOPPER, Backend.FLEX),
    ("capped, less than a tile", {"softcap": True, "tokens": 22}, HOPPER, Backend.BLOCKS),
    ("less than a tile", {"tokens": 22}, HOPPER, Backend.VARLEN),
    ("head of 12", {"head_size": 12, "value_size": 12}, WITH_FLASH_ATTN, Backend.BLOCKS),
    ("values of another size", {"head_size": 192, "value_size": 128}, WITH_FLASH_ATTN, Backend.FLEX),
    ("older GPU", {}, TURING, Backend.FLEX),
    ("no Triton", {}, WINDOWS_PC, Backend.VARLEN),
    ("no Triton, capped", {"softcap": True}, WINDOWS_PC, Backend.BLOCKS),
]


@pytest.mark.parametrize(
    ("need", "kernels", "expected"), [row[1:] for row in TABLE], ids=[r[0] for r in TABLE]
)
def test_the_fastest_backend_that_can_is_chosen(
    need: dict[str, Any], kernels: Kernels | None, expected: Backend
) -> None:
    assert choose_backend(**(PLAIN | need), kernels=kernels) is expected


def test_every_backend_has_a_function() -> None:
    assert set(backends.ATTENTION) == set(Backend)


@pytest.mark.parametrize("options", [{}, {"window": 5}, {"softcap": 2.0}, {"sinks": torch.ones(4)}])
def test_on_a_cpu_attention_is_that_of_blocks(options: dict[str, Any]) -> None:
    row = random_row(shared_layout())
    tensors = row.to(torch.float32)
    found = packed_row_attention(*tensors, row.layout, scale=0.25, **options)
    assert torch.equal(found, block_attention(*tensors, row.layout, scale=0.25, **options))


def test_every_backend_is_given_what_autocast_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rotary embeddings in float32 leave queries and keys wider than values; kernels take one type."""
    seen: list[torch.dtype] = []

    def recording(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        seen.extend(x.dtype for x in (query, key, value))
        return query

    monkeypatch.setitem(backends.ATTENTION, Backend.CPU, recording)
    row = random_row(shared_layout())
    query, key, _ = row.to(torch.float32)
    value = row.value.detach().to(torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        packed_row_attention(query, key, value, row.layout, scale=0.25)
    assert seen == [torch.bfloat16] * 3
    seen.clear()
    packed_row_attention(*row.to(torch.float32), row.layout, scale=0.25)
    with torch.autocast("cpu", torch.bfloat16):
        packed_row_attention(*row.to(torch.float64), row.layout, scale=0.25)
    assert seen == [torch.float32] * 3 + [torch.float64] * 3
