"""The optimizer decays matrices only; the schedule warms up as asked."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from orpo.config.schema import TrainingSection
from orpo.errors import ConfigError
from orpo.training.optim import make_optimizer, make_schedule, warmup_steps


def model() -> nn.Sequential:
    return nn.Sequential(nn.Embedding(4, 3), nn.Linear(3, 2), nn.LayerNorm(2))


def test_only_matrices_are_decayed_and_decay_is_decoupled() -> None:
    net = model()
    before = [p.detach().clone() for p in net.parameters()]
    optimizer = make_optimizer(net, TrainingSection(learning_rate=0.1, weight_decay=0.5))
    for parameter in net.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for old, new in zip(before, net.parameters(), strict=True):
        torch.testing.assert_close(new.detach(), old * (1 - 0.1 * 0.5) if old.ndim >= 2 else old)


def test_frozen_parameters_are_left_out() -> None:
    net = model()
    net[0].requires_grad_(False)
    optimizer = make_optimizer(net, TrainingSection())
    held = [p for group in optimizer.param_groups for p in group["params"]]
    assert len(held) == 4


def test_cosine_warms_up_linearly_and_ends_at_zero() -> None:
    settings = TrainingSection(learning_rate=1.0, schedule="cosine", warmup=0.2)
    optimizer = make_optimizer(model(), settings)
    schedule = make_schedule(optimizer, settings, total_steps=10)
    rates = []
    for _ in range(10):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    assert rates[:3] == pytest.approx([0.0, 0.5, 1.0])
    assert rates[3:] == sorted(rates[3:], reverse=True)
    assert schedule.get_last_lr()[0] == pytest.approx(0.0)


@pytest.mark.parametrize(
    ("warmup", "total", "steps"), [(0.1, 100, 10), (0.1, 95, 10), (7, 100, 7), (0.0, 5, 0), (0.1, 1, 0)]
)
def test_warmup_is_a_fraction_or_a_count(warmup: float, total: int, steps: int) -> None:
    assert warmup_steps(warmup, total) == steps


def test_a_warmup_longer_than_the_run_is_refused() -> None:
    with pytest.raises(ConfigError, match="fewer steps than the whole run's 50, got 100"):
        warmup_steps(100, 50)
