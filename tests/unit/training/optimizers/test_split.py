"""bfloat16 weights follow float32's to the last bit, at a learning rate at which they would not move."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from orpo.training.optimizers.split import LOW, SplitWeights, joined, split_into

RATE = 8e-6
"""The paper's."""


def gradients(steps: int) -> list[Tensor]:
    """Those of a direction with noise, as bfloat16 holds them."""
    generator = torch.Generator().manual_seed(0)
    drift = torch.randn(64, 32, generator=generator)
    return [(drift + torch.randn(64, 32, generator=generator)).bfloat16() for _ in range(steps)]


def start() -> Tensor:
    return torch.randn(64, 32, generator=torch.Generator().manual_seed(1)).mul(0.02).bfloat16()


def adamw(groups: list[dict[str, object]]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, lr=RATE, weight_decay=0.1, fused=True)


def trained(optimizer: torch.optim.Optimizer, weight: nn.Parameter, steps: int = 50) -> nn.Parameter:
    for gradient in gradients(steps):
        weight.grad = gradient.to(weight.dtype)
        optimizer.step()
    return weight


def test_at_the_papers_learning_rate_plain_bfloat16_hardly_moves_and_split_weights_are_float32s() -> None:
    wide, plain, split = (nn.Parameter(start().to(dtype)) for dtype in (torch.float32, *[torch.bfloat16] * 2))
    optimizer = SplitWeights([{"params": [split]}], adamw)
    for parameter, rule in ((wide, adamw([{"params": [wide]}])), (plain, adamw([{"params": [plain]}]))):
        trained(rule, parameter)
    trained(optimizer, split)
    moved = (wide - start()).norm()
    assert moved > 0.1 * 50 * RATE * math.sqrt(wide.numel())
    assert (plain - start()).norm() < 0.3 * moved, "plain bfloat16 loses most of it"
    assert torch.equal(joined(split.data, optimizer.state[split][LOW]), wide.data)
    assert torch.equal(split.data, wide.bfloat16().data), "rounded once, at the end"


def test_what_is_kept_is_float32_state_and_two_bytes_a_weight() -> None:
    weight = nn.Parameter(start())
    optimizer = SplitWeights([{"params": [weight]}], adamw)
    trained(optimizer, weight, steps=1)
    types = {key: value.dtype for key, value in optimizer.state[weight].items()}
    assert types == {
        "step": torch.float32, "exp_avg": torch.float32, "exp_avg_sq": torch.float32, LOW: torch.int16,
    }  # fmt: skip


def test_a_schedule_reaches_the_optimizer_inside() -> None:
    weight = nn.Parameter(start())
    optimizer = SplitWeights([{"params": [weight]}], adamw)
    optimizer.param_groups[0]["lr"] = 0.0
    trained(optimizer, weight, steps=3)
    assert torch.equal(weight.data, start())
    assert not optimizer.state[weight][LOW].any()


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=64))
def test_every_float32_number_comes_back_from_its_parts(patterns: list[int]) -> None:
    signed = torch.tensor([bits - 2**32 if bits >= 2**31 else bits for bits in patterns], dtype=torch.int32)
    value = signed.view(torch.float32)
    value = value[value.isfinite() & (value.abs() < torch.finfo(torch.bfloat16).max)]
    high, low = torch.empty_like(value, dtype=torch.bfloat16), torch.empty_like(value, dtype=torch.int16)
    split_into(value.clone(), high, low)
    assert torch.equal(joined(high, low).view(torch.int32), value.view(torch.int32))
    ties = (value.view(torch.int32) & 0xFFFF) == 0x8000
    assert torch.equal(high[~ties], value.bfloat16()[~ties])


@pytest.mark.parametrize("number", [1.00390625, -1.00390625])
def test_a_number_between_two_of_bfloat16_comes_back(number: float) -> None:
    value = torch.tensor([number])
    assert value.bfloat16() != value
    high, low = torch.empty(1, dtype=torch.bfloat16), torch.empty(1, dtype=torch.int16)
    split_into(value.clone(), high, low)
    assert torch.equal(joined(high, low), value)
