"""Log-probabilities from logits and their segment sums equal those of log-softmax, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from orpo.ops.logprobs import logits_log_probs, segment_sums

TARGETS = torch.tensor([1, 0, 6, 6, 2, 5])
SEGMENTS = torch.tensor([0, 2, 2, 0, 4, 4])
EMPTY = [1, 3]


def oracle(logits: Tensor) -> Tensor:
    log_probs = logits.log_softmax(-1)
    sums = [logits.new_zeros(()) for _ in range(5)]
    for row, target, segment in zip(log_probs, TARGETS, SEGMENTS, strict=True):
        sums[segment] = sums[segment] + row[target]
    return torch.stack(sums)


def found(logits: Tensor) -> Tensor:
    return segment_sums(logits_log_probs(logits, TARGETS), SEGMENTS, 5)


def random_logits(dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return (5 * torch.randn(6, 7, dtype=torch.float64)).to(dtype).requires_grad_()


def test_sums_and_their_gradient_equal_those_of_log_softmax() -> None:
    torch.manual_seed(1)
    slopes = torch.randn(5, dtype=torch.float64)
    results: list[tuple[Tensor, Tensor]] = []
    for compute in (oracle, found):
        logits = random_logits()
        sums = compute(logits)
        (gradient,) = torch.autograd.grad(sums @ slopes, logits)
        results.append((sums, gradient))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_segments_without_tokens_are_zero() -> None:
    sums = found(random_logits())
    assert sums[EMPTY].tolist() == [0.0, 0.0]
    assert (sums[[0, 2, 4]] < 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_normalised_in_float32(dtype: torch.dtype) -> None:
    logits = random_logits(dtype)
    sums = found(logits)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums.double(), oracle(logits.double()), rtol=1e-6, atol=1e-6)


def test_logits_far_apart_stay_finite() -> None:
    logits = torch.zeros(6, 7)
    logits[:, 0] = 1e4
    assert found(logits).tolist() == [-2e4, 0.0, -1e4, 0.0, -2e4]
