"""The Triton kernels equal the plain epilogue in float64; without a GPU Triton's interpreter runs them."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

import pytest
import torch
from torch import Tensor

from orpo.ops.epilogue import LogitTransform, log_probs, slopes_

if find_spec("triton") is None:
    pytest.skip("Triton is not installed", allow_module_level=True)
if not torch.cuda.is_available():
    os.environ.setdefault("TRITON_INTERPRET", "1")  # read when Triton is imported

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
TRANSFORMS = [LogitTransform(), LogitTransform(0.5), LogitTransform(2.0, 30.0), LogitTransform(1.0, 5.0)]
SIZES = [1, 5, 4096, 4099, 9000]
"""Vocabularies below, at and above a block, none but one of them a power of two."""


@pytest.fixture(scope="module")
def kernels() -> ModuleType:
    return import_module("orpo.ops.triton_epilogue")


def random_outputs(vocab_size: int, dtype: torch.dtype, rows: int = 3) -> tuple[Tensor, Tensor]:
    """Outputs and targets, the first and the last token of the vocabulary among these."""
    torch.manual_seed(0)
    outputs = (10 * torch.randn(rows, vocab_size)).to(dtype)
    targets = torch.randint(0, vocab_size, (rows,))
    targets[:2] = torch.tensor([0, vocab_size - 1])
    return outputs.to(DEVICE), targets.to(DEVICE)


@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
@pytest.mark.parametrize("vocab_size", SIZES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_both_kernels_equal_the_plain_epilogue(
    kernels: ModuleType, transform: LogitTransform, vocab_size: int, dtype: torch.dtype
) -> None:
    outputs, targets = random_outputs(vocab_size, dtype)
    wanted = outputs.double()
    normaliser = transform(wanted).logsumexp(-1)
    expected = slopes_(wanted, targets, transform), normaliser
    found = kernels.log_normalise(outputs, targets, transform)
    for got, exact in zip(found, expected, strict=True):
        assert got.dtype == torch.float32
        torch.testing.assert_close(got.double(), exact, rtol=1e-6, atol=1e-5)

    slopes = kernels.slope_(outputs.clone(), found[1], targets, transform)
    assert slopes.dtype == dtype
    rounding = torch.finfo(dtype).eps
    torch.testing.assert_close(slopes.double(), wanted, rtol=rounding, atol=5e-6)


def test_slopes_overwrite_the_outputs_and_nothing_beside_them(kernels: ModuleType) -> None:
    storage = torch.full((4, 107), 7.0, device=DEVICE)
    outputs = storage[1:3, :101]
    outputs.copy_(torch.randn(2, 101))
    targets = torch.tensor([0, 100], device=DEVICE)
    transform = LogitTransform()
    wanted = outputs.double()
    _, normalisers = kernels.log_normalise(outputs, targets, transform)
    torch.testing.assert_close(normalisers.double(), wanted.logsumexp(-1), rtol=1e-6, atol=1e-6)
    slopes_(wanted, targets, transform)
    result = kernels.slope_(outputs, normalisers, targets, transform)
    assert result.data_ptr() == outputs.data_ptr()
    torch.testing.assert_close(outputs.double(), wanted, rtol=1e-6, atol=1e-6)
    assert (storage[[0, 3]] == 7).all()
    assert (storage[:, 101:] == 7).all()


def test_outputs_far_apart_or_infinite_stay_exact(kernels: ModuleType) -> None:
    outputs = torch.full((3, 4500), -torch.inf, device=DEVICE)
    outputs[0, 4400:] = 0.0  # a whole block of -inf first
    outputs[1, 0], outputs[1, 1] = 1e4, -1e4
    outputs[2] = 80.0  # each exponential overflows a float32 sum of them without a shift
    targets = torch.tensor([4450, 0, 9], device=DEVICE)
    found, _ = kernels.log_normalise(outputs, targets, LogitTransform())
    expected = torch.tensor([100.0, 1.0, 4500.0], device=DEVICE).log().neg()
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-5)


def test_no_rows_are_no_work(kernels: ModuleType) -> None:
    outputs, targets = torch.empty(0, 7, device=DEVICE), torch.empty(0, dtype=torch.int64, device=DEVICE)
    found, normalisers = kernels.log_normalise(outputs, targets, LogitTransform())
    assert found.shape == normalisers.shape == (0,)
    assert kernels.slope_(outputs, normalisers, targets, LogitTransform()).shape == (0, 7)


@pytest.mark.skipif(DEVICE == "cpu", reason="needs 9 GB of a GPU's memory")
def test_rows_beyond_the_range_of_32_bits_are_found(kernels: ModuleType) -> None:
    outputs = torch.randn(34_000, 128_256, dtype=torch.bfloat16, device=DEVICE)
    targets = torch.randint(0, 128_256, (len(outputs),), device=DEVICE)
    found, normalisers = kernels.log_normalise(outputs, targets, LogitTransform())
    last = outputs[-2:].float()
    expected = log_probs(last, targets[-2:], LogitTransform())
    torch.testing.assert_close(found[-2:], expected, rtol=1e-5, atol=1e-4)
    torch.testing.assert_close(normalisers[-2:], last.logsumexp(-1), rtol=1e-5, atol=1e-4)
