"""Log-probabilities of target tokens from hidden states and the output head, without a batch of logits.

The gradient of a token's log-probability with respect to its logits z is onehot(y) - softmax(z), times a
scalar that comes from the loss.  The scalar multiplies a row, so it is applied to the (N, D) operands of
the backward products and never to an (N, V) matrix.

Costs are counted in units of one (N, V, D) matrix product:

    frozen head         2   the rows' derivatives are kept: N * D numbers
    kept slopes         3   the logits are overwritten by their gradients at once: N * V numbers
    recomputed logits   4   nothing is kept
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from orpo.ops.epilogue import LogitTransform, log_probs, slopes_
from orpo.ops.precision import widened


class GradientSum:
    """A sum of matrix products, float32 at least: the gradient of a weight over several calls."""

    def __init__(self) -> None:
        self.total: Tensor | None = None
        """None until something is added: the first product is the sum, rather than added to zeros."""

    def add(self, left: Tensor, right: Tensor) -> None:
        """Add a product, without a copy of its size where the types allow it."""
        if self.total is None:
            self.total = _product(left, right)
        elif self.total.dtype == left.dtype:
            self.total.addmm_(left, right)
        else:
            self.total += _product(left, right)


def target_log_probs(
    hidden: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    targets: Tensor,
    *,
    transform: LogitTransform,
    chunk_size: int,
    keep_rows: int,
    weight_gradient: GradientSum | None = None,
) -> Tensor:
    """log p(target | hidden state) of N tokens.

    Products run in the type of autocast, or of `hidden`; what follows them in float32 at least, the sums of
    gradients over chunks included.  The backward pass can run once.

    Args:
        hidden: (N, D) hidden states.
        weight: (V, D) of the output head.
        bias: (V,) of the output head, or None.
        targets: (N,) token ids.
        transform: what the model does to its logits.
        chunk_size: rows whose logits are computed at a time.
        keep_rows: rows whose logits' gradients are kept for the backward pass; the logits of the others are
            computed again.  Without effect if the head needs no gradient.
        weight_gradient: the (V, D) gradient of `weight` is added to it instead of being handed to autograd,
            which spares the sum over calls a matrix as large as the head.

    Returns:
        (N,) log-probabilities, float32, or float64 for float64 states.
    """
    if not torch.is_grad_enabled():
        # An autograd.Function is told what has a gradient, not whether it will be asked for.
        hidden, weight = hidden.detach(), weight.detach()
        bias = None if bias is None else bias.detach()
    return _TargetLogProbs.apply(  # type: ignore[no-any-return]
        hidden,
        weight,
        bias,
        targets,
        transform,
        chunk_size,
        keep_rows,
        product_dtype(hidden),
        weight_gradient,
    )


def product_dtype(hidden: Tensor) -> torch.dtype:
    """The type of the products: autocast's where it is enabled, else that of the states."""
    kind = hidden.device.type
    return torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype


class _TargetLogProbs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        targets: Tensor,
        transform: LogitTransform,
        chunk_size: int,
        keep_rows: int,
        dtype: torch.dtype,
        weight_gradient: GradientSum | None,
    ) -> Tensor:
        needs_hidden, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        needs_head = needs_weight or needs_bias
        rows = len(hidden)
        result = hidden.new_empty(rows, dtype=widened(dtype))
        kept = hidden.new_empty((min(keep_rows, rows) if needs_head else 0, len(weight)), dtype=dtype)
        derivatives = hidden.new_empty(hidden.shape, dtype=dtype) if needs_hidden and not needs_head else None
        states, head = hidden.to(dtype), weight.to(dtype)

        for chunk in _chunks(rows, chunk_size, len(kept)):
            store = kept[chunk] if chunk.stop <= len(kept) else None
            outputs = _head_outputs(states[chunk], head, bias, store)
            if store is None and derivatives is None:
                result[chunk] = log_probs(outputs, targets[chunk], transform)
            else:
                result[chunk] = slopes_(outputs, targets[chunk], transform)
            if store is not None and outputs is not store:
                store.copy_(outputs)
            if derivatives is not None:
                derivatives[chunk] = _product(outputs.to(dtype), head)
            del outputs  # or it would be there beside the next chunk's

        if derivatives is not None:
            ctx.save_for_backward(derivatives)
        else:
            ctx.save_for_backward(hidden, weight, bias, targets)
            ctx.kept = kept
        ctx.options, ctx.states_dtype = (transform, chunk_size, dtype, weight_gradient), hidden.dtype
        return result

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        transform, chunk_size, dtype, weight_gradient = ctx.options
        if len(ctx.saved_tensors) == 1:
            (derivatives,) = ctx.saved_tensors
            return (derivatives * -grad[:, None]).to(ctx.states_dtype), *[None] * 8

        hidden, weight, bias, targets = ctx.saved_tensors
        kept, ctx.kept = ctx.kept, None
        if kept is None:
            raise RuntimeError("target_log_probs: its backward pass can run once, and has run")
        _, needs_weight, needs_bias = ctx.needs_input_grad[:3]
        wide = widened(dtype)
        states, head = hidden.to(dtype), weight.to(dtype)
        scaled_states = (hidden * -grad[:, None]).to(dtype)
        grad_hidden = torch.empty_like(states)
        grad_bias = torch.zeros(len(weight), dtype=wide, device=weight.device) if needs_bias else None
        grad_weight = weight_gradient or GradientSum()

        if needs_weight and len(kept):
            # One product over all kept rows: no sum over chunks of a matrix as large as the head.
            grad_weight.add(kept.T, scaled_states[: len(kept)])
        for chunk in _chunks(len(hidden), chunk_size, len(kept)):
            is_kept = chunk.stop <= len(kept)
            slopes = kept[chunk] if is_kept else _head_outputs(states[chunk], head, bias, None)
            if not is_kept:
                slopes_(slopes, targets[chunk], transform)
                slopes = slopes.to(dtype)
            grad_hidden[chunk] = _product(slopes, head) * -grad[chunk, None]
            if grad_bias is not None:
                grad_bias.addmv_(slopes.to(wide).T, -grad[chunk])
            if needs_weight and not is_kept:
                grad_weight.add(slopes.T, scaled_states[chunk])
            del slopes
        is_handed_over = needs_weight and weight_gradient is None
        return (
            grad_hidden.to(ctx.states_dtype),
            grad_weight.total.to(weight.dtype) if is_handed_over and grad_weight.total is not None else None,
            grad_bias.to(bias.dtype) if grad_bias is not None else None,
            *[None] * 6,
        )


def _chunks(rows: int, size: int, kept: int) -> Iterator[slice]:
    """Slices of at most `size` rows; none crosses the end of the kept ones."""
    for start, stop in ((0, kept), (kept, rows)):
        for first in range(start, stop, size):
            yield slice(first, min(first + size, stop))


def _head_outputs(states: Tensor, head: Tensor, bias: Tensor | None, store: Tensor | None) -> Tensor:
    """(n, V) outputs of the head: in `store` if given, except on a GPU, where they are float32 at least."""
    if not _accumulates_wide(states):
        if bias is None:
            return torch.mm(states, head.T, out=store)
        return torch.addmm(bias.to(states.dtype), states, head.T, out=store)
    outputs = _product(states, head.T)
    if bias is not None:
        outputs += bias
    return outputs


def _accumulates_wide(operand: Tensor) -> bool:
    """Whether a product of half-precision operands can be had as it was summed, before it is rounded."""
    return operand.is_cuda and operand.dtype in (torch.float16, torch.bfloat16)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Matrix product in float32 at least; on a GPU without rounding to the operands' type."""
    if _accumulates_wide(left):
        return torch.mm(left, right, out_dtype=torch.float32)
    return (left @ right).to(widened(left.dtype))
