"""The token budget: chosen from a measured step, and halved when memory runs out.

A budget is a property of the hardware.  It decides how a global batch is split and so how sums are rounded,
and nothing else; the one in force and every change are part of a run's record.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal, TypeVar

import numpy as np
import torch
from torch.optim import Optimizer

from orpo.data.batching import Indices, tokens_alone
from orpo.errors import ResourceError
from orpo.ops.distributed import World
from orpo.ops.memory import MicroBatchMemoryError, free_memory_bytes, memory_meter, release_memory
from orpo.ops.random import set_torch_states, torch_states
from orpo.training.batches import Batches
from orpo.training.optim import unallocated_bytes
from orpo.training.sharding import is_sharded
from orpo.training.step import GradientStep

log = logging.getLogger(__name__)

T = TypeVar("T")

During = Literal["training", "evaluation", "the reference's scoring"]

SPEED_CAP = {"cpu": 4096, "cuda": 65_536}
"""Tokens beyond which a forward pass does not get faster per token: its matrix products keep every core busy
and the time to read the weights and to launch kernels no longer counts.  Where memory allows more, as it does
on most machines, the cap alone decides, so that a run does not depend on what else the machine is doing."""

SPARE = {"cpu": 0.25, "cuda": 0.1}
"""Share of the free memory that is not counted on.  On a GPU it is lost to fragmentation; on a CPU other
programs want some, and so does the scratch memory of kernels, which no operator shows."""

GRANULE = 512
"""Chosen budgets are multiples of this, so that small differences in free memory give the same one."""


@dataclass(frozen=True)
class BudgetChange:
    """From when on a budget is in force, and why."""

    step: int
    """The optimizer step that needed it, or the last one before the evaluation that did; 0 at the start."""

    tokens: int
    why: str
    """`given`, `speed cap`, `memory`, `longest pair`, or `out of memory in` training or evaluation; and then
    `, on resuming` if it took effect when the run went on."""


class TokenBudget:
    """Tokens, padding included, that one forward pass may hold on one device.

    Args:
        tokens: at the start.
        why: they are so many.
        world: this process among its peers.
        is_fixed: whether the run ends where memory runs out.  So it does with several processes, which would
            have to agree on the new budget in every step; and FSDP does not recover from a failed pass.
    """

    def __init__(self, tokens: int, why: str, world: World, *, is_fixed: bool = False) -> None:
        self.changes = [BudgetChange(0, tokens, why)]
        self._world = world
        self._is_fixed = is_fixed or world.size > 1

    @property
    def tokens(self) -> int:
        """The budget in force."""
        return self.changes[-1].tokens

    def go_on_from(self, changes: Sequence[BudgetChange], step: int) -> None:
        """Put the budgets of the run so far before the present one, which is a change if it differs.

        Args:
            changes: what `changes` was at a checkpoint.
            step: of the checkpoint.
        """
        now = self.changes[-1]
        self.changes = list(changes)
        if now.tokens != self.tokens:
            self.changes.append(BudgetChange(step, now.tokens, f"{now.why}, on resuming"))

    def fit(
        self,
        attempt: Callable[[int, Callable[[], None]], T],
        tell: Callable[[], None],
        *,
        step: int,
        during: During,
    ) -> T:
        """Run `attempt` within the budget; whenever memory does not suffice, again with half of it.

        A try that fails leaves nothing behind: the next one starts from the same random numbers, and `tell`
        hears of as many passes as the try that succeeds has.

        Args:
            attempt: takes the budget and what it calls between or after its passes; starts afresh each time.
            tell: is called once per such pass.
            step: for the record.
            during: for the record.

        Raises:
            ResourceError: a single pair does not fit; or, if the budget is fixed, anything.
        """
        device = self._world.device
        random = torch_states(device)
        told = _Told(tell)
        while True:
            try:
                return attempt(self.tokens, told)
            except MicroBatchMemoryError as error:
                message, pairs, tokens = error.message, error.pairs, error.tokens
            # Only here, where the exception is gone, do its frames hold the failed try's tensors no more.
            release_memory(device)
            if pairs == 1:
                raise _too_long(tokens, message, device)
            self._halve(tokens, step, during)
            set_torch_states(device, random)
            told.again()

    def _halve(self, held: int, step: int, during: During) -> None:
        """Halve the budget until it is below the tokens held by the micro-batch that failed."""
        tokens = self.tokens
        while tokens >= held:
            tokens //= 2
        if self._is_fixed:
            raise ResourceError(
                f"out of memory on {self._world.device}, in {during} at step {step}, with "
                f"training.max_tokens={self.tokens}",
                hint=f"Set training.max_tokens={tokens}. Several processes do not change it by themselves, "
                "nor does training.parallel=fsdp.",
            )
        self.changes.append(BudgetChange(step, tokens, f"out of memory in {during}"))
        log.warning(
            "step %d: out of memory in %s with a micro-batch of %d tokens; the batch is split again, and "
            "max_tokens is %d from here on",
            step,
            during,
            held,
            tokens,
        )


class _Told:
    """Passes calls on, except for those that repeat what an earlier try has told."""

    def __init__(self, tell: Callable[[], None]) -> None:
        self._tell = tell
        self._calls = 0
        self._told = 0

    def __call__(self) -> None:
        self._calls += 1
        if self._calls > self._told:
            self._told = self._calls
            self._tell()

    def again(self) -> None:
        """A new try begins."""
        self._calls = 0


def _too_long(tokens: int, message: str, device: torch.device) -> ResourceError:
    return ResourceError(
        f"out of memory on {device} with a single pair of {tokens} tokens: {message}",
        hint="Lower data.max_length, set training.gradient_checkpointing=true, or train adapters with "
        "model.lora.",
    )


# Choosing


def scoring_budget(max_tokens: int | Literal["auto"], world: World, *, is_fixed: bool = False) -> TokenBudget:
    """The budget of passes without gradients, which take little memory beside training's."""
    if max_tokens != "auto":
        return TokenBudget(max_tokens, "given", world, is_fixed=is_fixed)
    cap = SPEED_CAP.get(world.device.type, SPEED_CAP["cpu"])
    return TokenBudget(cap, "speed cap", world, is_fixed=is_fixed)


@dataclass(frozen=True)
class StepCost:
    """Bytes that a forward and backward pass takes: `fixed + per_token * tokens`."""

    fixed: float
    per_token: float

    @classmethod
    def through(cls, samples: Sequence[tuple[int, int]]) -> StepCost:
        """The line through the last two of (tokens, bytes), or from the origin through the only one."""
        tokens, held = samples[-1]
        before, held_before = samples[-2] if len(samples) > 1 else (0, 0)
        per_token = max((held - held_before) / (tokens - before), 1.0)
        return cls(fixed=max(held - per_token * tokens, 0.0), per_token=per_token)

    def tokens_within(self, room: float) -> int:
        """Tokens of a pass that takes `room` bytes."""
        return max(int((room - self.fixed) / self.per_token), 0)


def choose_budget(step: GradientStep, batches: Batches, optimizer: Optimizer) -> TokenBudget:
    """The budget that speed asks for, or as much of it as fits into memory: the same on every rank.

    Gradients and optimizer state that do not exist yet are accounted for.  Model, gradients and random
    numbers are left as they are.

    Args:
        step: of the loss itself, not DDP's wrapper of it.
        batches: the training pairs.
        optimizer: before its first step.

    Raises:
        ResourceError: the longest pair does not fit.
    """
    world, device = step.world, step.world.device
    release_memory(device)
    share = 1 - SPARE.get(device.type, SPARE["cpu"])
    room = share * free_memory_bytes(device) / world.sharing_memory - unallocated_bytes(optimizer)
    cap = SPEED_CAP.get(device.type, SPEED_CAP["cpu"])
    costs = tokens_alone(batches.pairs.lengths, batches.layout).astype(np.int64)
    longest_first = np.argsort(-costs, kind="stable")
    cost = _measure(step, batches, optimizer, longest_first, costs[longest_first].cumsum(), cap)
    fits = cost.tokens_within(room)

    chosen = min(cap, fits) // GRANULE * GRANULE
    tokens = world.smallest(max(chosen, int(costs.max())))
    why = "longest pair" if tokens > chosen else "speed cap" if tokens == cap else "memory"
    log.info(
        "max_tokens: %s, by %s; measured %s bytes per token, so %s tokens fit into memory",
        f"{tokens:,}",
        why,
        f"{cost.per_token:,.0f}",
        f"{fits:,}",
    )
    return TokenBudget(tokens, why, world, is_fixed=is_sharded(step.plain.scorer))


def _measure(
    step: GradientStep, batches: Batches, optimizer: Optimizer, order: Indices, held: Indices, cap: int
) -> StepCost:
    """The cost of a pass over the longest pair, and over the longest ones that hold an eighth of the cap.

    Args:
        step: see `choose_budget`.
        batches: see `choose_budget`.
        optimizer: of the parameters that are trained.
        order: (N,) the pairs, longest first.
        held: (N,) tokens of the pairs up to each one of `order`.
        cap: tokens that matter at most.
    """
    device = step.world.device
    step = replace(step, world=World(0, 1, device))  # ranks measure for themselves
    several = max(2, int(np.searchsorted(held, cap // 8, side="right")))
    samples: list[tuple[int, int]] = []
    modes = {module: module.training for module in step.loss.modules()}
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        step.loss.train()
        try:
            # Every micro-batch of a step but the first finds gradients that exist.
            for parameter in (p for group in optimizer.param_groups for p in group["params"]):
                parameter.grad = torch.zeros_like(parameter)
            meter = memory_meter(device)
            for count in sorted({1, min(several, batches.size, len(order))}):
                batch = batches.take(order[:count])
                micro_batch = batches.micro_batch(batch.pairs)
                run = partial(step, [micro_batch], batch.totals, lambda: None)
                try:
                    samples.append((micro_batch.input_ids.numel(), meter(run)))
                except MicroBatchMemoryError as error:
                    if count == 1:
                        raise _too_long(error.tokens, error.message, device) from None
                    if is_sharded(step.plain.scorer):
                        raise ResourceError(
                            f"out of memory on {device} while training.max_tokens was chosen, with "
                            f"{error.tokens} tokens: {error.message}",
                            hint=f"Set training.max_tokens={error.tokens // 2}. training.parallel=fsdp does "
                            "not go on from here.",
                        ) from None
        finally:
            optimizer.zero_grad(set_to_none=True)
            for module, mode in modes.items():
                module.training = mode
    release_memory(device)
    return StepCost.through(samples)
