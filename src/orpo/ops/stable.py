"""Log-odds of a length-averaged log-probability, finite in value and gradient for every a <= 0.

With P = e^a, the naive log(1 - P) is -inf at a = 0, and the usual two-branch log1mexp has a NaN gradient
there, because the branch that `torch.where` does not take has an infinite slope.  Here 1 - P is floored at
`eps`, half a unit in the last place of 1, in the value and in the slope alike: the slope is capped at
1/eps, never zeroed, so a saturated pair still pulls.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def odds_epsilon(dtype: torch.dtype) -> float:
    """The floor of 1 - e^a: 2^-24 in float32, 2^-53 in float64."""
    return torch.finfo(dtype).eps / 2


def complement(a: Tensor) -> Tensor:
    """1 - e^a, floored at `odds_epsilon`: the inverse is the slope of `log_odds`.

    Args:
        a: log-probabilities <= 0 of any shape, float32 or float64.
    """
    return (-torch.expm1(a)).clamp_min(odds_epsilon(a.dtype))


class _LogOdds(torch.autograd.Function):
    @staticmethod
    def forward(ctx: FunctionCtx, a: Tensor) -> Tensor:
        rest = complement(a)
        ctx.save_for_backward(rest)
        return a - torch.log(rest)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad_output: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        (rest,) = ctx.saved_tensors  # type: ignore[attr-defined]
        return grad_output / rest  # d/da [a - log(1 - e^a)] = 1 / (1 - e^a)


def log_odds(a: Tensor) -> Tensor:
    """log(P / (1 - P)) with P = e^a (paper, Eq. 4).

    Args:
        a: log-probabilities <= 0 of any shape, float32 or float64; lower precision is raised to float32.

    Returns:
        A tensor of the same shape.  Value and gradient are finite for every finite a <= 0.
    """
    if a.dtype not in (torch.float32, torch.float64):
        a = a.float()
    return _LogOdds.apply(a)  # type: ignore[return-value]
