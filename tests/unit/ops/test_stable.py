"""log_odds against 60-digit arithmetic, and its limits where float arithmetic ends."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from orpo.ops.stable import log_odds, odds_epsilon
from tests import oracles

DTYPES = [torch.float32, torch.float64]
EXTREMES = [0.0, -1e-45, -1e-38, -1e-16, -1e-12, -3e-8, -1e-8, -1e-7, -1e-3]
EXTREMES += [-0.5, -0.6931472, -1.0, -20.0, -104.0, -1e4, -1e30]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("a", EXTREMES)
def test_value_and_gradient_are_finite_for_every_log_probability(a: float, dtype: torch.dtype) -> None:
    x = torch.tensor([a], dtype=dtype, requires_grad=True)
    value = log_odds(x)
    value.sum().backward()
    assert torch.isfinite(value).all()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad >= 1).all(), "the slope 1/(1-P) is at least 1"


@given(a=st.floats(min_value=-700, max_value=-1e-14))
def test_value_and_slope_equal_the_paper_in_float64(a: float) -> None:
    x = torch.tensor(a, dtype=torch.float64, requires_grad=True)
    value = log_odds(x)
    value.backward()
    assert x.grad is not None
    assert value.item() == pytest.approx(float(oracles.log_odds(a)), rel=1e-13, abs=1e-13)
    assert x.grad.item() == pytest.approx(float(1 / (1 - oracles.mp.exp(oracles.mpf(a)))), rel=1e-13)


@given(a=st.floats(min_value=-80, max_value=-(2.0**-22), width=32))
def test_value_and_slope_equal_the_paper_in_float32(a: float) -> None:
    x = torch.tensor(a, dtype=torch.float32, requires_grad=True)
    value = log_odds(x)
    value.backward()
    assert x.grad is not None
    assert value.item() == pytest.approx(float(oracles.log_odds(a)), rel=1e-6, abs=1e-6)
    assert x.grad.item() == pytest.approx(float(1 / (1 - oracles.mp.exp(oracles.mpf(a)))), rel=1e-6)


@pytest.mark.parametrize("dtype", DTYPES)
def test_at_certainty_the_complement_is_floored_in_value_and_slope_alike(dtype: torch.dtype) -> None:
    eps = {torch.float32: 2.0**-24, torch.float64: 2.0**-53}[dtype]
    assert odds_epsilon(dtype) == eps
    x = torch.zeros((), dtype=dtype, requires_grad=True)
    value = log_odds(x)
    value.backward()
    assert x.grad is not None
    assert value.item() == pytest.approx(-float(oracles.mp.log(eps)))
    assert x.grad.item() == 1 / eps


def test_low_precision_input_is_raised_to_float32() -> None:
    assert log_odds(torch.tensor([-0.5], dtype=torch.bfloat16)).dtype == torch.float32
