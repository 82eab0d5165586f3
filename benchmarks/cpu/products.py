"""The matrix products of an optimizer step: recorded, run alone, and counted."""

from __future__ import annotations

import math
import time
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from transformers import PreTrainedModel, TrainerCallback, TrainerState

from orpo.data.tokenized import TokenizedPairs

from .ours import Ours
from .workload import Workload

aten = torch.ops.aten

PRODUCTS = {aten.mm: torch.mm, aten.addmm: torch.addmm, aten.bmm: torch.bmm, aten.baddbmm: torch.baddbmm}

ATTENTION = aten._scaled_dot_product_flash_attention_for_cpu
ATTENTION_BACKWARD = aten._scaled_dot_product_flash_attention_for_cpu_backward

UNKNOWN = ("attention", "linear", "convolution")
"""In the name of an operator that multiplies matrices and is not one of the above."""


@dataclass(frozen=True)
class Operand:
    """A tensor of a product.  Equal operands are one tensor in the step, and in the replay."""

    identity: Hashable
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype

    @classmethod
    def of(cls, tensor: Tensor) -> Operand:
        return cls(tensor.data_ptr(), tuple(tensor.shape), tensor.stride(), tensor.dtype)

    def allocate(self) -> Tensor:
        """A new tensor of normal numbers, so that no denormal one slows the arithmetic down."""
        extent = 1 + sum((n - 1) * step for n, step in zip(self.size, self.stride, strict=True))
        return torch.randn(extent, dtype=self.dtype).as_strided(self.size, self.stride)


@dataclass(frozen=True)
class Product:
    """One call of a matrix product."""

    operator: Any
    """A key of `PRODUCTS`."""

    operands: tuple[Operand, ...]
    result: Operand
    is_attention: bool = False

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * math.prod(self.result.size) * self.operands[-2].size[-1]


class Recorder(TorchDispatchMode):
    """Collects the products of everything that runs inside, backward passes included."""

    def __init__(self) -> None:
        super().__init__()
        self.products: list[Product] = []

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        operator = func.overloadpacket
        if operator in PRODUCTS:
            operands = tuple(Operand.of(x) for x in args if isinstance(x, Tensor))
            self.products.append(Product(operator, operands, Operand.of(result)))
        elif operator is ATTENTION:
            query, key = args[:2]
            self.products += _attention_products(query, key, _is_causal(args, kwargs, 4), backward=False)
        elif operator is ATTENTION_BACKWARD:
            query, key = args[1:3]
            self.products += _attention_products(query, key, _is_causal(args, kwargs, 7), backward=True)
        elif any(word in operator.__name__ for word in UNKNOWN):
            raise NotImplementedError(f"{operator} multiplies matrices in a way that is not counted here")
        return result


def _is_causal(args: tuple[Any, ...], kwargs: dict[str, Any], at: int) -> bool:
    """Whether an attention call, whose `is_causal` is argument `at`, hides later keys: by it or by a mask."""
    return (len(args) > at and args[at]) or kwargs.get("is_causal") or kwargs.get("attn_mask") is not None


def _attention_products(query: Tensor, key: Tensor, is_causal: bool, *, backward: bool) -> list[Product]:
    """The products inside a call of fused attention, of the keys that are visible and no others.

    A causal block is a triangle below a rectangle; it is counted as the rectangle of the same area.  The
    backward pass computes the scores again: two products forward, five backward.
    """
    batch, heads, queries, width = query.shape
    keys = key.shape[2] - (queries - 1) // 2 if is_causal else key.shape[2]
    n, shapes = batch * heads, {"q": queries, "k": keys, "d": width}
    forward = ("qd,dk->qk", "qk,kd->qd")
    recipes = ("qd,dk->qk", "kq,qd->kd", "qd,dk->qk", "qk,kd->qd", "kq,qd->kd") if backward else forward

    def operand(axes: str) -> Operand:
        rows, columns = (shapes[axis] for axis in axes)
        size = (n, rows, columns)
        return Operand((axes, "attention"), size, (rows * columns, columns, 1), query.dtype)

    products: list[Product] = []
    for recipe in recipes:
        inputs, result = recipe.split("->")
        left, right = inputs.split(",")
        products.append(
            Product(aten.bmm, (operand(left), operand(right)), operand(result), is_attention=True)
        )
    return products


class Replay:
    """The products of a step with nothing between them, on tensors that are allocated beforehand.

    Args:
        products: in the order of the step.
    """

    def __init__(self, products: Sequence[Product]) -> None:
        inputs: dict[Operand, Tensor] = {}
        results: dict[Operand, Tensor] = {}
        self._calls: list[tuple[Any, list[Tensor], Tensor]] = []
        for product in products:
            for operand in product.operands:
                if operand not in inputs:
                    inputs[operand] = operand.allocate()
            if product.result not in results:
                results[product.result] = product.result.allocate()
            operands = [inputs[operand] for operand in product.operands]
            self._calls.append((PRODUCTS[product.operator], operands, results[product.result]))

    @torch.no_grad()
    def __call__(self) -> float:
        """Seconds that all products take."""
        started = time.perf_counter()
        for function, operands, result in self._calls:
            function(*operands, out=result)
        return time.perf_counter() - started


@dataclass
class ProductTimes:
    """Steps and their products, one entry per batch."""

    step_seconds: list[float]
    product_seconds: list[float]
    """Of all products, attention's included."""

    attention_seconds: list[float]
    product_flops: list[int]
    useful_flops: list[int]


class _ProductClock(TrainerCallback):
    """Records the products of each batch in the first pass, and times steps and products in the second."""

    def __init__(self, batches: int) -> None:
        self.recorders: list[Recorder] = []
        self.times = ProductTimes([], [], [], [], [])
        self._batches = batches
        self._started = 0.0

    def on_step_begin(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        if state.global_step < self._batches:
            self.recorders.append(Recorder())
            self.recorders[-1].__enter__()
        self._started = time.perf_counter()

    def on_step_end(self, args: Any, state: TrainerState, control: Any, **_: Any) -> None:
        seconds = time.perf_counter() - self._started
        if state.global_step <= self._batches:
            self.recorders[-1].__exit__(None, None, None)
            return
        products = self.recorders[state.global_step - self._batches - 1].products
        self.times.step_seconds.append(seconds)
        self.times.product_seconds.append(_alone(products))
        self.times.attention_seconds.append(_alone([p for p in products if p.is_attention]))
        self.times.product_flops.append(sum(product.flops for product in products))


def _alone(products: Sequence[Product]) -> float:
    replay = Replay(products)
    replay()  # so that the first call of each kernel is not timed
    return replay()


def time_products(workload: Workload) -> ProductTimes:
    """Steps of ours in the default definition, and after each its own products alone."""
    clock = _ProductClock(len(workload))
    Ours().train(workload, 2 * len(workload), clock)
    model = workload.new_model()
    clock.times.useful_flops = [
        useful_flops(model, workload.batches([i]).pairs) for i in range(len(workload))
    ]
    return clock.times


def useful_flops(model: PreTrainedModel, pairs: TokenizedPairs) -> int:
    """What a step has to compute: every token once, every response token scored, nothing twice or padded.

    Three products of a linear layer and of each product of attention: one forward, two backward.
    """
    prompt, chosen, rejected = pairs.lengths.astype("int64").T
    head = model.get_output_embeddings()
    assert head is not None
    layers = [m for m in model.modules() if isinstance(m, nn.Linear) and m is not head]
    tokens = int((prompt + chosen + rejected).sum())
    scored = int((chosen + rejected).sum())
    # Token t of a text sees t tokens, itself included.
    seen = (
        _triangle(prompt)
        + _triangle(prompt + chosen)
        - _triangle(prompt)
        + _triangle(prompt + rejected)
        - _triangle(prompt)
    )
    config = model.config.get_text_config()
    width = config.num_attention_heads * config.head_dim
    return 6 * (
        tokens * sum(layer.weight.numel() for layer in layers)
        + scored * head.weight.numel()
        + 2 * int(seen.sum()) * width * config.num_hidden_layers
    )


def _triangle(n: Any) -> Any:
    return n * (n + 1) // 2


def gemm_rate(size: int = 2048, attempts: int = 7) -> float:
    """Multiplications and additions per second of a square float32 product: the best of several."""
    left, right, result = (torch.randn(size, size) for _ in range(3))

    def seconds() -> float:
        started = time.perf_counter()
        torch.mm(left, right, out=result)
        return time.perf_counter() - started

    return 2 * size**3 / min(seconds() for _ in range(attempts))
