"""Activations that cost little to have again are not kept for the backward pass.

A matrix product keeps its input for its backward pass.  Where that input comes out of a norm, an activation
function or a gate, it is the result of an elementwise operator whose operands are kept anyway, for the
backward pass of that operator.  So a reference to the operator is kept in its place, and the result is
computed again when it is asked for: by the same operator from the same operands, so to the same bits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

import torch
from torch import Tensor
from torch.autograd.graph import Node, saved_tensors_hooks
from torch.nn import functional as F

_OPERATORS: dict[str, Callable[[Any], Tensor]] = {
    "MulBackward0": lambda node: node._saved_self * node._saved_other,
    "SiluBackward0": lambda node: F.silu(node._saved_self),
    "GeluBackward0": lambda node: F.gelu(node._saved_self, approximate=node._saved_approximate),
}
"""Elementwise operators that keep their operands rather than their result, by the name of their node."""

_VIEWS = ("ViewBackward0", "UnsafeViewBackward0")
_COPY = "ToCopyBackward0"


def recompute_cheap_results() -> saved_tensors_hooks:
    """Around a forward pass: keep no results of elementwise operators that can be had from what is kept.

    Gradients are the same to the bit.  Inside activation checkpointing, whose own rules are for all that a
    layer keeps, it has no effect.
    """
    results: WeakValueDictionary[Node, _Result] = WeakValueDictionary()

    def pack(tensor: Tensor) -> _Kept | _Recomputed:
        node = _maker(tensor)
        if node is None:
            return _Kept(tensor.detach(), tensor._version)
        result = results.get(node)
        if result is None:
            result = results[node] = _Result(node)
            for operand, _ in node.next_functions:
                if operand is not None and operand in results:
                    results[operand].readers += 1
        result.readers += 1
        return _Recomputed(result, tensor.shape, tensor.dtype)

    return saved_tensors_hooks(pack, lambda packed: packed.unpack())


def _maker(tensor: Tensor) -> Node | None:
    """The operator that can compute a tensor again, up to its shape and one conversion of its type."""
    if tensor._version:
        return None  # something was written into it since
    node, copies = tensor.grad_fn, 0
    while node is not None and (node.name() in _VIEWS or node.name() == _COPY):
        copies += node.name() == _COPY
        node = node.next_functions[0][0]
    if node is None or node.name() not in _OPERATORS or copies > 1:
        return None
    # A product keeps only the operands that the gradients which are needed depend on.
    return node if all(operand is not None for operand, _ in node.next_functions) else None


class _Result:
    """What an operator computes again: at the first reading, and held until the last that is known of."""

    def __init__(self, node: Node) -> None:
        self.readers = 0
        self._node = node
        self._value: Tensor | None = None

    def read(self) -> Tensor:
        value = self._value
        if value is None:
            with torch.no_grad():
                value = _OPERATORS[self._node.name()](self._node)
        self.readers -= 1
        self._value = value if self.readers > 0 else None
        return value


@dataclass(frozen=True)
class _Recomputed:
    """A saved tensor in the form of its maker's result."""

    result: _Result
    shape: torch.Size
    dtype: torch.dtype

    def unpack(self) -> Tensor:
        return self.result.read().to(self.dtype).reshape(self.shape)


@dataclass(frozen=True)
class _Kept:
    """A saved tensor as it is; detached, since an operator that keeps its result would refer to itself."""

    tensor: Tensor
    version: int

    def unpack(self) -> Tensor:
        if self.tensor._version != self.version:  # hooks take autograd's own check out of force
            raise RuntimeError(
                "a tensor that the backward pass needs has been modified by an in-place operator"
            )
        return self.tensor
