"""Results that can be had from what is kept anyway are not kept, and nothing else changes."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from orpo.ops.memory import memory_meter
from orpo.ops.recompute import recompute_cheap_results

ROWS, WIDTH, INNER = 64, 32, 96

Function = Callable[..., Tensor]


def operands(*frozen: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = {
        "x": (1, ROWS, WIDTH),
        "norm": (WIDTH,),
        "gate": (INNER, WIDTH),
        "up": (INNER, WIDTH),
        "down": (WIDTH, INNER),
    }
    return {
        name: torch.randn(shape, generator=generator).requires_grad_(name not in frozen)
        for name, shape in shapes.items()
    }


def gated(x: Tensor, norm: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """The second half of a Llama layer."""
    hidden = norm * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6))
    return x + F.linear(F.silu(F.linear(hidden, gate)) * F.linear(hidden, up), down)


def half_precision(x: Tensor, norm: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return gated(x, norm, gate, up, down).float()


def with_gelu(x: Tensor, norm: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    hidden = F.gelu(F.linear(x * norm, gate), approximate="tanh") * F.gelu(F.linear(x, up))
    return F.linear(hidden.view(ROWS, INNER), down)


def written_over(x: Tensor, norm: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """What the product keeps is no longer what the multiplication made."""
    scaled = x * norm
    with torch.no_grad():
        scaled.add_(1)
    return F.linear(F.linear(scaled, gate) * F.linear(scaled, up), down)


def rounded(x: Tensor, norm: Tensor, gate: Tensor, up: Tensor, down: Tensor) -> Tensor:
    """What the product keeps went through a narrower type."""
    hidden = (x * norm).bfloat16().float()
    return F.linear(F.linear(hidden, gate) * F.linear(hidden, up), down)


def gradients(
    function: Function, context: AbstractContextManager[object], *frozen: str
) -> dict[str, Tensor | None]:
    tensors = operands(*frozen)
    with context:
        output = function(**tensors)
    output.square().sum().backward()
    return {name: tensor.grad for name, tensor in tensors.items()}


@pytest.mark.parametrize("function", [gated, half_precision, with_gelu, written_over, rounded])
@pytest.mark.parametrize("frozen", [(), ("norm",), ("gate", "up", "down"), ("x",)], ids=str)
def test_gradients_are_the_same_to_the_bit(function: Function, frozen: tuple[str, ...]) -> None:
    expected = gradients(function, nullcontext(), *frozen)
    found = gradients(function, recompute_cheap_results(), *frozen)
    assert {name for name, gradient in found.items() if gradient is None} == set(frozen)
    for name, gradient in found.items():
        torch.testing.assert_close(gradient, expected[name], rtol=0, atol=0)


@pytest.mark.parametrize(("function", "share"), [(gated, 0.6), (half_precision, 0.7)])
def test_less_is_kept(function: Function, share: float) -> None:
    def peak(context: AbstractContextManager[object]) -> int:
        tensors = operands()

        def work() -> None:
            with context:
                x = tensors["x"]
                for _ in range(10):
                    x = function(**(tensors | {"x": x}))
            x.sum().backward()

        return memory_meter(torch.device("cpu"))(work)

    assert peak(recompute_cheap_results()) < share * peak(nullcontext())


def test_a_result_is_computed_once_for_all_that_read_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Tensor] = []

    def counting(x: Tensor) -> Tensor:
        calls.append(x)
        return silu(x)

    silu = F.silu
    tensors = operands()
    with recompute_cheap_results():
        output = gated(**tensors).sum()
    monkeypatch.setattr(F, "silu", counting)
    output.backward()
    assert len(calls) == 1  # read by the product's backward pass and by that of its gate


def test_writing_over_what_is_needed_is_an_error_as_without() -> None:
    tensors = operands()
    with recompute_cheap_results():
        hidden = F.linear(tensors["x"], tensors["gate"])
        output = hidden.square().sum()
    with torch.no_grad():
        hidden.add_(1)
    with pytest.raises(RuntimeError, match="in-place"):
        output.backward()


@contextmanager
def no_collector() -> Iterator[None]:
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def test_a_graph_that_is_dropped_leaves_nothing_behind() -> None:
    with no_collector():
        with recompute_cheap_results():
            root = torch.rsqrt(operands()["x"].square() + 1)  # keeps its own result
            output = F.silu(root * root).sum()
        storage = weakref.ref(root.untyped_storage())
        del root, output
        assert storage() is None
