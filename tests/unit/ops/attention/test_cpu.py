"""The CPU kernel called block by block computes what `scaled_dot_product_attention` does, and keeps less."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from orpo.batch import PackedAttention
from orpo.ops.attention.blocks import block_attention
from orpo.ops.attention.cpu import cpu_attention
from tests.unit.ops.attention.rows import random_row, shared_layout, unshared_layout

Attention = Callable[..., Tensor]


def results(
    attention: Attention, layout: PackedAttention, dtype: torch.dtype, window: int | None
) -> list[Tensor]:
    """Output and gradients of query, key and value, which are numbers that every type has."""
    tensors = [x.to(dtype).requires_grad_() for x in random_row(layout).to(torch.bfloat16)]
    output = attention(*tensors, layout, scale=0.3, window=window)
    slope = torch.randn(output.shape, generator=torch.Generator().manual_seed(1)).bfloat16().to(dtype)
    return [output, *torch.autograd.grad(output, tensors, slope)]


LAYOUTS = pytest.mark.parametrize("layout", [shared_layout(), unshared_layout()], ids=["shared", "packed"])
WINDOWS = pytest.mark.parametrize("window", [None, 1, 20])


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@WINDOWS
@LAYOUTS
def test_values_and_gradients_are_those_of_blocks(
    layout: PackedAttention, window: int | None, dtype: torch.dtype
) -> None:
    found, expected = (results(f, layout, dtype, window) for f in (cpu_attention, block_attention))
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


@WINDOWS
@LAYOUTS
def test_bfloat16_is_no_further_from_the_truth_than_with_the_kernel_in_bfloat16(
    layout: PackedAttention, window: int | None
) -> None:
    exact = results(block_attention, layout, torch.float64, window)
    ours, kernel = (results(f, layout, torch.bfloat16, window) for f in (cpu_attention, block_attention))
    for got, theirs, truth in zip(ours, kernel, exact, strict=True):
        assert got.dtype == torch.bfloat16
        assert (got - truth).norm() <= 1.02 * (theirs - truth).norm() + 1e-5


def test_less_is_kept_for_the_backward_pass() -> None:
    def kept(attention: Attention) -> int:
        storages: dict[int, int] = {}

        def pack(tensor: Tensor) -> Tensor:
            storage = tensor.untyped_storage()
            storages[storage.data_ptr()] = storage.nbytes()
            return tensor

        layout = shared_layout()
        tensors = [x.requires_grad_() for x in random_row(layout).to(torch.float32)]
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            attention(*tensors, layout, scale=0.3)
        return sum(storages.values())

    row = 4 * 400 * 16 * (4 + 2 + 2 + 4)  # query, key, value, output
    assert kept(cpu_attention) <= 1.2 * row  # and masks and sums
    assert kept(block_attention) > 1.3 * row, "not even counting the joined output"


def test_tokens_are_adjacent_in_the_output_and_the_gradients() -> None:
    """So that the layer's next product needs no copy."""
    layout = shared_layout()
    for result in results(cpu_attention, layout, torch.float32, None):
        assert result.transpose(1, 2).is_contiguous()
