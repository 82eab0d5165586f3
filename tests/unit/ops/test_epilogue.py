"""Log-probabilities and slopes of capped, scaled logits equal those that autograd finds."""

from __future__ import annotations

import math

import pytest
import torch

from orpo.ops.epilogue import PIECE, LogitTransform, log_probs, slopes_

TRANSFORMS = [
    LogitTransform(),
    LogitTransform(scale=0.25),
    LogitTransform(softcap=3.0),
    LogitTransform(scale=2.0, softcap=3.0),
]
SHAPES = [(6, 9), (1, 1), (5, PIECE // 2 + 1)]
"""The last one takes several pieces."""


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("transform", TRANSFORMS, ids=str)
def test_values_and_slopes_are_those_of_log_softmax(
    transform: LogitTransform, shape: tuple[int, int]
) -> None:
    torch.manual_seed(0)
    outputs = (4 * torch.randn(shape, dtype=torch.float64)).requires_grad_()
    targets = torch.randint(shape[1], shape[:1])
    logits = outputs * transform.scale
    if transform.softcap is not None:
        logits = transform.softcap * torch.tanh(logits / transform.softcap)
    torch.testing.assert_close(transform(outputs), logits)
    expected = logits.log_softmax(-1).gather(1, targets[:, None])[:, 0]
    (gradient,) = torch.autograd.grad(expected.sum(), outputs)

    with torch.no_grad():
        torch.testing.assert_close(log_probs(outputs, targets, transform), expected, rtol=1e-12, atol=1e-12)
        slopes = outputs.clone()
        found = slopes_(slopes, targets, transform)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(slopes, -gradient, rtol=1e-11, atol=1e-12)


def test_scoring_alone_leaves_the_outputs_as_they_are() -> None:
    outputs = torch.randn(3, 5)
    before = outputs.clone()
    log_probs(outputs, torch.tensor([0, 1, 2]), LogitTransform(scale=2.0, softcap=3.0))
    assert torch.equal(outputs, before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_improbable_targets_keep_their_log_probability(dtype: torch.dtype) -> None:
    """Of probabilities that float32 rounds to few digits, or to 0."""
    outputs = torch.zeros(6, 50, dtype=dtype)
    outputs[:, 7] = torch.tensor([60.0, 86.0, 88.0, 100.0, 104.0, 3e4])
    targets = torch.full((6,), 4)
    expected = outputs.double().log_softmax(-1)[:, 4]
    for found in (log_probs(outputs, targets, LogitTransform()), slopes_(outputs, targets, LogitTransform())):
        assert found.dtype == torch.float32
        torch.testing.assert_close(found.double(), expected, rtol=1e-6, atol=0)
    assert (outputs[:, 4] == -1).all()


def test_outputs_of_minus_infinity_are_impossible_tokens() -> None:
    outputs = torch.full((2, 9), -torch.inf)
    outputs[:, 3:5] = 2.0
    assert log_probs(outputs, torch.tensor([3, 0]), LogitTransform()).tolist() == pytest.approx(
        [-math.log(2), -math.inf]
    )
