"""Normalisation and slopes of capped, scaled logits equal those that autograd finds."""

from __future__ import annotations

import pytest
import torch

from orpo.ops.epilogue import PIECE, LogitTransform, log_normalise, slope_

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
        log_probs, normalisers = log_normalise(outputs, targets, transform)
        torch.testing.assert_close(log_probs, expected, rtol=1e-12, atol=1e-12)
        torch.testing.assert_close(normalisers, logits.logsumexp(-1), rtol=1e-12, atol=1e-12)
        storage = outputs.clone()
        slopes = slope_(storage, normalisers, targets, transform)
    torch.testing.assert_close(slopes, -gradient, rtol=1e-11, atol=1e-12)
    assert slopes.data_ptr() == storage.data_ptr(), "it overwrites what it is given"


def test_normalising_leaves_the_outputs_as_they_are() -> None:
    outputs = torch.randn(3, 5)
    before = outputs.clone()
    log_normalise(outputs, torch.tensor([0, 1, 2]), LogitTransform(scale=2.0, softcap=3.0))
    assert torch.equal(outputs, before)
