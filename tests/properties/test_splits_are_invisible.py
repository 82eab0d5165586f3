"""The update does not depend on how a global batch is split: over budgets, orders and processes.

"The same" (docs/architecture.md): per tensor, the difference of the two parameter changes is at most 1e-3
of the change, in float32.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import PreTrainedModel

from orpo.batch import Layout
from orpo.data.batching import split_batch
from orpo.objectives import DPO, IPO, KTO, ORPO, SFT, RewardModel, SimPO
from orpo.ops.distributed import join_world
from orpo.training.loop import TrainingLoop
from tests.loops import make_loop, random_pairs
from tests.processes import run_module
from tests.tiny import score_as_if_large, tiny_llama, tiny_reward_model

Budget = int | Literal["auto"]

STEPS = 5
LOSSES = {
    "paper": ORPO(0.5, "paper"),
    "paper, all turns": ORPO(0.5, "paper", "all"),
    "trl": ORPO(0.5, "trl"),
    "sft": SFT("trl"),
    "dpo": DPO(0.1, 0.1),
    "ipo": IPO(0.2),
    "simpo": SimPO(),
    "kto": KTO(0.1, 1.5),
    "reward": RewardModel(0.5, 0.1),
}

BATCH = 13
"""Odd, so that two ranks with one pair per micro-batch cannot share it out: one runs a stand-in."""


def train_changes(
    max_tokens: Budget,
    loss: str,
    order: Callable[[int], list[int]] | None = None,
    memory: Callable[[int], int] | None = None,
    layout: Layout = Layout.SHARED,
) -> dict[str, Tensor]:
    """Change of every parameter after 5 steps over 58 weighted pairs and singles, the last batch partial.

    Args:
        max_tokens: the token budget.
        loss: one of `LOSSES`.
        order: of the pairs within a batch of so many.
        memory: tokens that there is memory for in a step.
        layout: of the micro-batches.
    """
    pairs = random_pairs(58, mixed=True)
    if order is not None:
        within = [start + i for start in range(0, 58, BATCH) for i in order(min(BATCH, 58 - start))]
        pairs = pairs.select(within)
    with join_world() as world:
        objective = LOSSES[loss]
        model = tiny_reward_model() if objective.needs_values else tiny_llama(initializer_range=0.2)
        start = {name: p.detach().clone() for name, p in model.named_parameters()}
        loop = make_loop(
            model=model,
            pairs=pairs,
            objective=objective,
            layout=layout,
            max_tokens=max_tokens,
            world=world,
            batch_size=BATCH,
            max_steps=STEPS,
            weight_decay=0.1,
            # Adam and clipping forgive a gradient that is wrong by a factor; like this they do not.
            adam_epsilon=0.1,
            max_grad_norm=None,
            shuffle=False,
        )
        if memory is not None:
            limit_memory(loop, model, memory)
        loop.run()
        return {name: p.detach() - start[name] for name, p in model.named_parameters()}


def limit_memory(loop: TrainingLoop, model: PreTrainedModel, memory: Callable[[int], int]) -> None:
    """Let forward passes fail that hold more tokens than there is memory for."""

    def check(_module: object, args: tuple[Tensor, ...]) -> None:
        held = args[0].numel()
        if held > memory(loop.step + 1):
            raise torch.OutOfMemoryError(f"{held} tokens")

    model.get_input_embeddings().register_forward_pre_hook(check)


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, change in expected.items():
        assert change.norm() > 0, f"{name} did not move"
        assert (found[name] - change).norm() <= 1e-3 * change.norm(), name


@pytest.fixture(scope="module", params=["paper", "paper, all turns", "trl"])
def whole(request: pytest.FixtureRequest) -> tuple[str, dict[str, Tensor]]:
    """The update with every batch in one micro-batch."""
    return request.param, train_changes(10**6, request.param)


@pytest.mark.parametrize("max_tokens", [1, 100, 300, 1000])
def test_any_token_budget_gives_the_same_update(
    whole: tuple[str, dict[str, Tensor]], max_tokens: int
) -> None:
    loss, expected = whole
    assert_same(train_changes(max_tokens, loss), expected)


@pytest.mark.parametrize("loss", ["sft", "dpo", "ipo", "simpo", "kto", "reward"])
def test_every_objective_gives_the_same_update_for_any_budget_and_layout(loss: str) -> None:
    expected = train_changes(10**6, loss, layout=Layout.PADDED)
    for max_tokens in (1, 200):
        assert_same(train_changes(max_tokens, loss), expected)
    assert_same(train_changes(200, loss, layout=Layout.PACKED), expected)


@pytest.mark.parametrize("limit", [100, 200])
def test_running_out_of_memory_gives_the_same_update(
    whole: tuple[str, dict[str, Tensor]], limit: int
) -> None:
    """From the third step on, passes of more than `limit` tokens fail; the longest pair has 89."""
    loss, expected = whole
    found = train_changes(10**6, loss, memory=lambda step: limit if step > 2 else 10**6)
    assert_same(found, expected)


def test_any_order_within_the_batch_gives_the_same_update(
    whole: tuple[str, dict[str, Tensor]],
) -> None:
    loss, expected = whole
    shuffled = train_changes(300, loss, lambda size: np.random.default_rng(size).permutation(size).tolist())
    assert_same(shuffled, expected)


def run_processes(count: int, loss: str, budgets: Sequence[Budget], out: Path) -> list[dict[str, Tensor]]:
    """The same training in `count` gloo processes, once per budget; every rank must end up alike."""
    run_module(__name__, loss, str(out), *map(str, budgets), count=count)
    results: list[dict[str, Tensor]] = []
    for budget in budgets:
        ranks = [load_file(out / f"{budget}-{rank}.safetensors") for rank in range(count)]
        for other in ranks[1:]:
            for name, change in ranks[0].items():
                assert torch.equal(change, other[name]), f"ranks disagree on {name}"
        results.append(ranks[0])
    return results


def test_two_processes_give_the_same_update_as_one(
    whole: tuple[str, dict[str, Tensor]], tmp_path: Path
) -> None:
    """With a budget of one token each micro-batch is one pair, and one rank runs a stand-in of weight 0."""
    loss, expected = whole
    assert any(
        plan.weight == 0
        for rank in split_batch(np.full((BATCH, 3), 9), layout=Layout.SHARED, world_size=2, max_tokens=1)
        for plan in rank
    )
    for found in run_processes(2, loss, [1, 300, 10**6, "auto"], tmp_path):
        assert_same(found, expected)


def test_an_estimate_over_the_batch_is_the_same_over_two_processes(tmp_path: Path) -> None:
    """KTO's divergence is estimated from the prompts of both ranks."""
    expected = train_changes(10**6, "kto")
    (found,) = run_processes(2, "kto", [200], tmp_path)
    assert_same(found, expected)


if __name__ == "__main__":
    score_as_if_large()
    which, directory, *budgets = sys.argv[1:]
    # The processes meet once: at a second meeting one could find the other still leaving the first.
    with join_world():
        for budget in budgets:
            tokens: Budget = "auto" if budget == "auto" else int(budget)
            changes = train_changes(tokens, which)
            save_file(changes, Path(directory) / f"{budget}-{os.environ['RANK']}.safetensors")
