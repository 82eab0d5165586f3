"""The load-balancing loss, on routers whose answer is known."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from orpo.ops.routing import balancing_loss, routed

ONES = torch.ones(4)


def loss(*logits: Tensor, weight: Tensor = ONES, top_k: int = 1) -> float:
    sums = routed(logits, weight, top_k)
    return balancing_loss(sums.load, sums.probability, weight.sum().item() * len(logits)).item()


def certain(*experts: int) -> Tensor:
    """Logits of a router that is sure of an expert for each token."""
    return 100 * torch.nn.functional.one_hot(torch.tensor(experts), 4).float()


def test_equally_busy_experts_make_the_least_loss() -> None:
    assert loss(certain(0, 1, 2, 3)) == pytest.approx(1)


def test_one_expert_for_all_makes_the_largest() -> None:
    assert loss(certain(2, 2, 2, 2)) == pytest.approx(4)


def test_layers_are_taken_together() -> None:
    """As in transformers: two layers with an expert each are as good as one with both."""
    assert loss(certain(0, 0, 0, 0), certain(1, 1, 1, 1)) == pytest.approx(2)


def test_a_token_of_weight_two_is_there_twice_and_one_of_weight_zero_is_not() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0))
    weighted = loss(logits, weight=torch.tensor([2.0, 1.0, 0.0, 1.0]), top_k=2)
    assert weighted == pytest.approx(loss(logits[[0, 0, 1, 3]], top_k=2))


def test_gradients_flow_through_probabilities_alone() -> None:
    logits = torch.randn(4, 4, generator=torch.Generator().manual_seed(0), requires_grad=True)
    sums = routed([logits], ONES, 2)
    assert not sums.load.requires_grad
    (found,) = torch.autograd.grad(balancing_loss(sums.load, sums.probability, 4.0), logits)
    fixed = sums.load.clone()
    (expected,) = torch.autograd.grad(4 * (fixed / 4) @ logits.softmax(-1).mean(0), logits)
    torch.testing.assert_close(found, expected)


def test_rows_of_a_batch_are_tokens_one_after_the_other() -> None:
    logits = torch.randn(2, 2, 4, generator=torch.Generator().manual_seed(0))
    assert loss(logits) == pytest.approx(loss(logits.view(4, 4)))


def test_autocast_rounds_nothing() -> None:
    """Where experts are nearly equally busy, the gradient is a small difference of large numbers."""
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(64, generator=generator)
    results: list[tuple[Tensor, ...]] = []
    for enabled in (False, True):
        generator.manual_seed(1)
        logits = torch.randn(64, 4, generator=generator, requires_grad=True)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            sums = routed([logits], weight, 2)
            found = balancing_loss(sums.load, sums.probability, 64.0)
        results.append((found.detach(), *torch.autograd.grad(found, logits)))
    assert results[1][0].dtype == torch.float32
    for plain, under_autocast in zip(*results, strict=True):
        assert torch.equal(plain, under_autocast)
