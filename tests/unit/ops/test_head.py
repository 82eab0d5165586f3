"""Log-probabilities from hidden states equal those of whole logits, and so do all their gradients."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from orpo.ops import head
from orpo.ops.epilogue import LogitTransform
from orpo.ops.head import target_log_probs

ROWS, VOCABULARY, SIZE = 11, 7, 5

PLAIN = LogitTransform()
TRANSFORMS = {
    "plain": PLAIN,
    "scale": LogitTransform(scale=0.3),
    "softcap": LogitTransform(softcap=2.0),
    "scale and softcap": LogitTransform(scale=1.7, softcap=2.0),
}

KEPT = {"kept": ROWS, "more than kept": 100, "partly kept": 4, "recomputed": 0}
"""Rows whose logits are kept for the backward pass."""


@dataclass
class Problem:
    """Hidden states, a head, targets and the gradient that arrives from the loss."""

    hidden: Tensor
    weight: Tensor
    bias: Tensor | None
    targets: Tensor
    slopes: Tensor

    def inputs(self) -> list[Tensor]:
        """What needs a gradient."""
        given = (self.hidden, self.weight, self.bias)
        return [x for x in given if x is not None and x.requires_grad]

    def log_probs(self, transform: LogitTransform = PLAIN, chunk_size: int = 3, keep_rows: int = 0) -> Tensor:
        return target_log_probs(
            self.hidden,
            self.weight,
            self.bias,
            self.targets,
            transform=transform,
            chunk_size=chunk_size,
            keep_rows=keep_rows,
        )

    def oracle(self, transform: LogitTransform) -> Tensor:
        """By whole logits, written out."""
        logits = self.hidden @ self.weight.T * transform.scale
        if self.bias is not None:
            logits = (self.hidden @ self.weight.T + self.bias) * transform.scale
        if transform.softcap is not None:
            logits = transform.softcap * (logits / transform.softcap).tanh()
        return logits.log_softmax(-1).gather(1, self.targets[:, None])[:, 0]

    def gradients(self, log_probs: Tensor) -> tuple[Tensor, ...]:
        return torch.autograd.grad(log_probs, self.inputs(), self.slopes.to(log_probs.dtype))


def problem(
    *,
    bias: bool = True,
    trained: tuple[bool, bool, bool] = (True, True, True),
    dtype: torch.dtype = torch.float64,
    rows: int = ROWS,
    vocabulary: int = VOCABULARY,
    size: int = SIZE,
) -> Problem:
    """A random problem; `trained` says whether states, weight and bias need a gradient."""
    torch.manual_seed(0)
    draws = (torch.randn(shape, dtype=torch.float64) for shape in ((rows, size), (vocabulary, size)))
    hidden, weight = (x.to(dtype).requires_grad_(t) for x, t in zip(draws, trained, strict=False))
    offset = torch.randn(vocabulary, dtype=torch.float64).to(dtype).requires_grad_(trained[2])
    targets = torch.randint(vocabulary, (rows,))
    return Problem(hidden, weight, offset if bias else None, targets, torch.randn(rows, dtype=torch.float64))


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("keep_rows", KEPT.values(), ids=KEPT)
def test_a_trained_head_gives_the_values_and_gradients_of_whole_logits(
    keep_rows: int, transform: LogitTransform, bias: bool, chunk_size: int
) -> None:
    p = problem(bias=bias)
    found, expected = p.log_probs(transform, chunk_size, keep_rows), p.oracle(transform)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(p.gradients(found), p.gradients(expected), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [1, 3, 100])
@pytest.mark.parametrize("bias", [False, True], ids=["no bias", "bias"])
@pytest.mark.parametrize("transform", TRANSFORMS.values(), ids=TRANSFORMS)
@pytest.mark.parametrize("keep_rows", [0, ROWS])
def test_a_frozen_head_gives_the_values_and_the_gradient_of_its_states(
    keep_rows: int, transform: LogitTransform, bias: bool, chunk_size: int
) -> None:
    p = problem(bias=bias, trained=(True, False, False))
    found, expected = p.log_probs(transform, chunk_size, keep_rows), p.oracle(transform)
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(p.gradients(found), p.gradients(expected), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("keep_rows", KEPT.values(), ids=KEPT)
@pytest.mark.parametrize(
    "trained",
    [(False, True, False), (False, False, True), (True, False, True), (False, True, True)],
    ids=["weight", "bias", "states and bias", "weight and bias"],
)
def test_only_what_is_trained_gets_a_gradient(trained: tuple[bool, bool, bool], keep_rows: int) -> None:
    p = problem(trained=trained)
    transform = TRANSFORMS["scale and softcap"]
    found, expected = p.log_probs(transform, keep_rows=keep_rows), p.oracle(transform)
    torch.testing.assert_close(p.gradients(found), p.gradients(expected), rtol=1e-11, atol=1e-12)
    p.log_probs(transform, keep_rows=keep_rows).sum().backward()
    given = (p.hidden, p.weight, p.bias)
    assert tuple(x is not None and x.grad is not None for x in given) == trained


def test_without_gradients_the_values_are_the_same_and_nothing_is_prepared_for_any(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delattr(head, "slopes_")
    p = problem()
    with torch.no_grad():
        found = p.log_probs(keep_rows=4)
    assert not found.requires_grad
    torch.testing.assert_close(found, p.oracle(PLAIN), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("keep_rows", KEPT.values(), ids=KEPT)
def test_a_head_that_is_also_the_embedding_gets_both_gradients(keep_rows: int) -> None:
    gradients: list[Tensor] = []
    for fused in (True, False):
        p = problem(bias=False, trained=(False, True, False))
        p.hidden = p.weight[torch.arange(ROWS) % VOCABULARY].sin()
        log_probs = p.log_probs(keep_rows=keep_rows) if fused else p.oracle(PLAIN)
        gradients.append(*torch.autograd.grad(log_probs, [p.weight], p.slopes))
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-11, atol=1e-12)


def test_a_second_backward_pass_through_kept_logits_is_refused() -> None:
    p = problem()
    log_probs = p.log_probs(keep_rows=ROWS)
    log_probs.sum().backward(retain_graph=True)
    with pytest.raises(RuntimeError, match="backward pass can run once, and has run"):
        log_probs.sum().backward()


def test_logits_far_apart_stay_finite() -> None:
    p = problem(dtype=torch.float32)
    with torch.no_grad():
        p.weight.mul_(1e4)
    log_probs = p.log_probs(keep_rows=4)
    assert log_probs.isfinite().all()
    assert all(gradient.isfinite().all() for gradient in p.gradients(log_probs))


def relative(found: Tensor, expected: Tensor) -> float:
    return ((found.double() - expected).norm() / expected.norm()).item()


@pytest.mark.parametrize("frozen", [False, True])
@pytest.mark.parametrize("autocast", [False, True], ids=["bf16 weights", "autocast"])
@pytest.mark.parametrize("keep_rows", [0, 100, 10**6])
def test_bfloat16_products_give_float32_scores_as_exact_as_their_operands(
    keep_rows: int, autocast: bool, frozen: bool
) -> None:
    p = problem(
        dtype=torch.float32 if autocast else torch.bfloat16,
        trained=(True, not frozen, not frozen),
        rows=300,
        vocabulary=50,
        size=32,
    )
    exact = problem(trained=(True, not frozen, not frozen), rows=300, vocabulary=50, size=32)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        log_probs = p.log_probs(chunk_size=16, keep_rows=keep_rows)
    assert log_probs.dtype == torch.float32
    assert relative(log_probs, exact.oracle(PLAIN)) < 1e-2
    for found, x, expected in zip(
        p.gradients(log_probs), p.inputs(), exact.gradients(exact.oracle(PLAIN)), strict=True
    ):
        assert found.dtype == x.dtype
        assert relative(found, expected) < 2e-2


@pytest.mark.parametrize("keep_rows", [0, 2048, 4096])
def test_gradients_summed_over_many_chunks_are_not_rounded_to_bfloat16(keep_rows: int) -> None:
    """Positive states, so that the sum grows until bfloat16 could no longer take in what is added."""
    rows, chunk = 4096, 8
    torch.manual_seed(0)
    hidden = torch.rand(rows, 8).bfloat16()
    weight = torch.zeros(16, 8, dtype=torch.bfloat16, requires_grad=True)
    bias = torch.zeros(16, dtype=torch.bfloat16, requires_grad=True)
    targets = torch.zeros(rows, dtype=torch.int64)
    log_probs = target_log_probs(
        hidden, weight, bias, targets, transform=PLAIN, chunk_size=chunk, keep_rows=keep_rows
    )
    log_probs.sum().backward()
    # With all logits 0, d log p / d z is onehot - 1/16.
    slope = torch.full((16,), -1 / 16, dtype=torch.float64)
    slope[0] += 1
    expected = slope[:, None] * hidden.double().sum(0)
    assert weight.grad is not None
    assert bias.grad is not None
    assert relative(weight.grad, expected) < 4e-3
    assert relative(bias.grad, slope * rows) < 4e-3

    rounded = torch.zeros_like(weight)
    for part in hidden.split(chunk):
        rounded = rounded + (slope.bfloat16()[:, None] * part.sum(0))
    assert relative(rounded, expected) > 5e-2, "rounded after each chunk, this sum does lose what it adds"


def test_a_frozen_heads_gradient_has_the_type_of_the_states() -> None:
    torch.manual_seed(0)
    hidden = torch.randn(4, 8, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        log_probs = target_log_probs(
            hidden,
            torch.randn(10, 8),
            None,
            torch.arange(4),
            transform=LogitTransform(),
            chunk_size=2,
            keep_rows=0,
        )
    (gradient,) = torch.autograd.grad(log_probs.sum() / 3, hidden)
    assert gradient.dtype == torch.float32
    assert not torch.equal(gradient, gradient.bfloat16().float()), "the factor was not rounded"
