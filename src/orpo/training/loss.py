"""The root module of training: model, head, scores and objective in one forward pass.

DDP and FSDP hook into one module's forward pass, so everything that reads parameters happens inside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from orpo.batch import MicroBatch, Totals
from orpo.modeling.head import FusedHead
from orpo.modeling.scorer import PairScorer, collect
from orpo.objectives import Objective, ObjectiveOutput
from orpo.ops.distributed import World
from orpo.ops.head import GradientSum, product_dtype
from orpo.ops.means import add_sums


class PairLoss(nn.Module):
    """A micro-batch's share of the loss.

    An objective's shares add up over pairs.  So where the head is trained, it goes through the pairs in parts
    and each part's gradient is taken at once: the head's outputs are computed once and only a part of them
    ever exists, whatever the size of the micro-batch.

    Args:
        scorer: scores of pairs.
        objective: from scores to loss.
    """

    def __init__(self, scorer: PairScorer, objective: Objective) -> None:
        super().__init__()
        self.scorer = scorer
        self.objective = objective

    def forward(
        self, batch: MicroBatch, totals: Totals, factor: Tensor, world: World | None = None
    ) -> ObjectiveOutput:
        """The share of the loss, times `factor`, and of the metrics.

        Args:
            batch: B pairs.
            totals: the global batch's counts.
            factor: scalar; applied before any gradient is taken, so that a loss scale protects all of them.
            world: over whose processes the experts' load is summed where `totals` does not say it; None if
                this one is alone.
        """
        compute = partial(self._tensors, totals=totals, factor=factor, world=world)
        loss, metrics = self.scorer(batch, compute)
        return ObjectiveOutput(loss, metrics)

    def _tensors(
        self, batch: MicroBatch, *, totals: Totals, factor: Tensor, world: World | None
    ) -> tuple[Tensor, Mapping[str, Tensor]]:
        """Loss and metrics in a form in which FSDP finds the tensors."""
        output = self._output(batch, totals, factor, world)
        return output.loss, output.metrics

    def _output(
        self, batch: MicroBatch, totals: Totals, factor: Tensor, world: World | None
    ) -> ObjectiveOutput:
        router_loss = self.scorer.router_loss
        if router_loss is None:
            return self._objective(self.scorer.states(batch), batch, totals, factor)
        states, logits = self.scorer.routed_states(batch)
        output = self._objective(states, batch, totals, factor)
        share = router_loss.share(logits, batch, totals, world)
        told = torch.stack([share.detach() * totals.tokens, batch.presence.sum().to(share.dtype)])
        return ObjectiveOutput(
            output.loss + share * router_loss.coefficient * factor, output.metrics | {"router_loss": told}
        )

    def _objective(
        self, states: Tensor, batch: MicroBatch, totals: Totals, factor: Tensor
    ) -> ObjectiveOutput:
        head = self.scorer.head
        if isinstance(head, FusedHead) and head.is_trained and torch.is_grad_enabled():
            parts = list(parts_of(batch.offsets, head.part_rows))
            if len(parts) > 1:
                return self._by_parts(states, head, batch, parts, totals, factor)
        output = self.objective(self.scorer.scores(states, batch), totals)
        return ObjectiveOutput(output.loss * factor, output.metrics)

    def _by_parts(
        self,
        states: Tensor,
        head: FusedHead,
        batch: MicroBatch,
        parts: list[tuple[int, int]],
        totals: Totals,
        factor: Tensor,
    ) -> ObjectiveOutput:
        # Leaves of their own, so that a part's backward pass ends here and not in the model's gradients; the
        # weights in the type of the products, so that not every part converts them.
        layer = head.layer
        weight = layer.weight.detach().to(product_dtype(states)).requires_grad_(layer.weight.requires_grad)
        bias = None if layer.bias is None else layer.bias.detach().requires_grad_(layer.bias.requires_grad)
        grad_weight = GradientSum()
        grad_states = torch.empty_like(states)
        loss = factor.new_zeros(())
        metrics: dict[str, Tensor] = {}
        for first, last in parts:
            tokens = slice(batch.offsets[first], batch.offsets[last])
            part = batch.scoring(first, last)
            rows = states[tokens].detach().requires_grad_()
            log_probs = head.log_probs(rows, weight, bias, part.targets, grad_weight)
            output = self.objective(collect(log_probs, part), totals)
            share = output.loss * factor
            share.backward()
            loss = loss + share.detach()
            assert rows.grad is not None
            grad_states[tokens] = rows.grad
            add_sums(metrics, output.metrics)
        inputs, gradients = [states], [grad_states]
        if grad_weight.total is not None:
            inputs.append(layer.weight)
            gradients.append(grad_weight.total.to(layer.weight.dtype))
        if bias is not None and bias.grad is not None:
            inputs.append(layer.bias)
            gradients.append(bias.grad)
        return ObjectiveOutput(_WithGradients.apply(loss, gradients, *inputs), metrics)


class _WithGradients(torch.autograd.Function):
    """A scalar whose gradients are known."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, gradients: list[Tensor], *inputs: Tensor) -> Tensor:
        ctx.gradients = gradients
        return value.clone()

    @staticmethod
    @once_differentiable
    def backward(  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx: Any, *grads: Tensor
    ) -> tuple[Tensor | None, ...]:
        gradients, ctx.gradients = ctx.gradients, None
        return None, None, *(gradient.mul_(grads[0]) for gradient in gradients)


def parts_of(offsets: tuple[int, ...], rows: int) -> Iterator[tuple[int, int]]:
    """Ranges of pairs with at most `rows` scored tokens together; a pair with more is a range of its own."""
    first = 0
    for last in range(1, len(offsets)):
        if last == len(offsets) - 1 or offsets[last + 1] - offsets[first] > rows:
            yield first, last
            first = last
