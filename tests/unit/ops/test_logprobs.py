"""Segment sums equal those of log-softmax, in value and gradient."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from orpo.ops.logprobs import segment_log_probs

POSITIONS = torch.tensor([0, 3, 4, 7, 11, 3])
TARGETS = torch.tensor([1, 0, 6, 6, 2, 5])
SEGMENTS = torch.tensor([0, 2, 2, 0, 4, 4])
EMPTY = [1, 3]


def oracle(logits: Tensor) -> Tensor:
    log_probs = logits.flatten(0, 1).log_softmax(-1)
    sums = [logits.new_zeros(()) for _ in range(5)]
    for position, target, segment in zip(POSITIONS, TARGETS, SEGMENTS, strict=True):
        sums[segment] = sums[segment] + log_probs[position, target]
    return torch.stack(sums)


def random_logits(dtype: torch.dtype = torch.float64) -> Tensor:
    torch.manual_seed(0)
    return (5 * torch.randn(3, 4, 7, dtype=torch.float64)).to(dtype).requires_grad_()


def test_sums_and_their_gradient_equal_those_of_log_softmax() -> None:
    torch.manual_seed(1)
    slopes = torch.randn(5, dtype=torch.float64)
    results: list[tuple[Tensor, Tensor]] = []
    for compute in (oracle, lambda x: segment_log_probs(x, POSITIONS, TARGETS, SEGMENTS, 5)):
        logits = random_logits()
        sums = compute(logits)
        (gradient,) = torch.autograd.grad(sums @ slopes, logits)
        results.append((sums, gradient))
    torch.testing.assert_close(results[1], results[0], rtol=1e-12, atol=1e-12)


def test_segments_without_tokens_are_zero() -> None:
    sums = segment_log_probs(random_logits(), POSITIONS, TARGETS, SEGMENTS, 5)
    assert sums[EMPTY].tolist() == [0.0, 0.0]
    assert (sums[[0, 2, 4]] < 0).all()


def test_positions_that_are_not_scored_get_no_gradient() -> None:
    logits = random_logits()
    segment_log_probs(logits, POSITIONS, TARGETS, SEGMENTS, 5).sum().backward()
    assert logits.grad is not None
    moved = logits.grad.flatten(0, 1).abs().sum(-1) > 0
    assert moved.nonzero().flatten().tolist() == sorted(set(POSITIONS.tolist()))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_logits_are_normalised_in_float32(dtype: torch.dtype) -> None:
    logits = random_logits(dtype)
    sums = segment_log_probs(logits, POSITIONS, TARGETS, SEGMENTS, 5)
    assert sums.dtype == torch.float32
    torch.testing.assert_close(sums.double(), oracle(logits.double()), rtol=1e-6, atol=1e-6)


def test_logits_far_apart_stay_finite() -> None:
    logits = torch.zeros(3, 4, 7)
    logits[..., 0] = 1e4
    sums = segment_log_probs(logits, POSITIONS, TARGETS, SEGMENTS, 5)
    assert sums.tolist() == [-2e4, 0.0, -1e4, 0.0, -2e4]
