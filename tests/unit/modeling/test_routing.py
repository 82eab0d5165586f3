"""The router loss is transformers' own, over the global batch, whatever the layout and the split."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import PreTrainedModel

from orpo.batch import Layout, MicroBatch, PromptTokens
from orpo.data.batching import lengths_of
from orpo.data.collate import batch_totals, collate, micro_batches
from orpo.data.pairs import TokenizedPair
from orpo.errors import ConfigError
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.engine import build_scorer
from orpo.modeling.lora import add_lora
from orpo.modeling.routing import find_router_loss
from orpo.objectives import ORPO
from orpo.ops.distributed import World
from orpo.training.loss import PairLoss
from orpo.training.step import GradientStep
from tests.families.zoo import SHARED
from tests.loops import random_pairs
from tests.tiny import tiny_llama

COEFFICIENT = 7.0
"""So large that the router's part of the gradient is not lost beside the objective's."""

PAIRS = [*random_pairs(5), TokenizedPair((1, 2, 3), (4, 5), (), "no rejected response")]
ALONE = World(0, 1, torch.device("cpu"))


def new_model(family: str = "mixtral") -> PreTrainedModel:
    model = SHARED[family].build().double()
    model.set_experts_implementation("eager")  # grouped products have no float64
    return model


def gradient_step(
    model: Any, layout: Layout = Layout.SHARED, coefficient: float = COEFFICIENT
) -> GradientStep:
    scorer = build_scorer(model, layout=layout, max_length=64, router_loss=coefficient)
    return GradientStep(PairLoss(scorer, ORPO()), ALONE, None, torch.amp.GradScaler("cpu", enabled=False))


def take(step: GradientStep, batches: Sequence[MicroBatch]) -> tuple[Tensor, Tensor]:
    """The gradient of a step, and the mean router loss that it tells."""
    step.loss.zero_grad()
    sums = step(batches, batch_totals(PAIRS, PromptTokens.NONE), lambda: None)
    gradients = [p.grad.flatten() for p in step.loss.parameters() if p.grad is not None]
    total, weight = sums["router_loss"]
    return torch.cat(gradients), total / weight


def split(layout: Layout, max_tokens: int) -> list[MicroBatch]:
    found = micro_batches(
        PAIRS,
        lengths_of(PAIRS),
        layout,
        pad_id=0,
        prompt_tokens=PromptTokens.NONE,
        max_tokens=max_tokens,
        world=ALONE,
    )
    return [batch for _, batch in found]


def whole(layout: Layout = Layout.SHARED) -> list[MicroBatch]:
    return [collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.NONE)]


def transformers_own(model: Any) -> Tensor:
    """Of a padded row per branch, with its attention mask."""
    rows = [
        (*pair.prompt, *response) for pair in PAIRS for response in (pair.chosen, pair.rejected) if response
    ]
    ids = torch.zeros((len(rows), max(map(len, rows))), dtype=torch.int64)
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        mask[i, : len(row)] = 1
    return model(input_ids=ids, attention_mask=mask, output_router_logits=True).aux_loss


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("family", ["mixtral", "olmoe", "qwen3_moe"])
def test_loss_and_gradient_are_transformers_own(family: str, layout: Layout) -> None:
    model = new_model(family)
    plain = gradient_step(model, layout, coefficient=0.0)
    plain([*whole(layout)], batch_totals(PAIRS, PromptTokens.NONE), lambda: None)
    expected = transformers_own(model)
    (COEFFICIENT * expected).backward()
    wanted = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
    found, told = take(gradient_step(model, layout), whole(layout))
    torch.testing.assert_close(told, expected.detach().double(), rtol=1e-6, atol=0)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6 * wanted.abs().max().item())


@pytest.mark.parametrize("layout", Layout)
def test_the_split_changes_nothing(layout: Layout) -> None:
    step = gradient_step(new_model(), layout)
    expected, loss = take(step, whole(layout))
    parts = split(layout, 40)
    assert len(parts) > 2
    found, told = take(step, parts)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())
    torch.testing.assert_close(told, loss)


def test_processes_with_a_micro_batch_each_share_the_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two ranks in turn: each hears the load of the other where a real one would."""
    step = gradient_step(new_model())
    expected, _ = take(step, whole())
    batches = [
        collate(pairs, Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)
        for pairs in (PAIRS[:2], PAIRS[2:])
    ]
    loads: list[Tensor] = []

    def listen(_world: World, values: Tensor) -> Tensor:
        loads.append(values.clone())
        return values

    monkeypatch.setattr(World, "sum", listen)
    for batch in batches:
        take(step, [batch])
    monkeypatch.setattr(World, "sum", lambda _world, values: torch.stack(loads).sum(0))
    found = sum(take(step, [batch])[0] for batch in batches)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * expected.abs().max().item())


def test_weights_of_pairs_count() -> None:
    """A pair of weight 2 is that pair twice; one of weight 0 is not there."""
    heavy = [replace(PAIRS[0], weight=2.0), PAIRS[1]]
    stand_in = collate(PAIRS[2:3], Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE, weight=0.0)
    step = gradient_step(new_model())
    expected = step(
        [collate([PAIRS[0], *PAIRS[:2]], Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE)],
        batch_totals([PAIRS[0], *PAIRS[:2]], PromptTokens.NONE),
        lambda: None,
    )["router_loss"]
    found = step(
        [collate(heavy, Layout.SHARED, pad_id=0, prompt_tokens=PromptTokens.NONE), stand_in],
        batch_totals(heavy, PromptTokens.NONE),
        lambda: None,
    )["router_loss"]
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("lora", [False, True])
@pytest.mark.parametrize("selective", [False, True])
def test_checkpointing_changes_nothing(selective: bool, lora: bool) -> None:
    def run(*, checkpointed: bool) -> Tensor:
        model: Any = new_model()
        if checkpointed:
            checkpoint_activations(model, selective=selective)
        if lora:
            torch.manual_seed(0)
            model = add_lora(model, r=2, alpha=4, dropout=0.0, target=["q_proj", "v_proj"])
        return take(gradient_step(model.train()), whole())[0]

    assert torch.equal(run(checkpointed=True), run(checkpointed=False))


def test_a_coefficient_is_the_models_own_unless_it_is_given() -> None:
    model = new_model("olmoe")
    own = find_router_loss(model, "auto")
    given = find_router_loss(model, 0.25)
    assert own is not None
    assert given is not None
    assert (own.coefficient, given.coefficient) == (0.01, 0.25)
    assert find_router_loss(model, 0) is None


def test_a_model_without_experts_has_none_and_refuses_a_coefficient() -> None:
    assert find_router_loss(tiny_llama(), "auto") is None
    with pytest.raises(ConfigError, match="router_loss: LlamaForCausalLM has no router loss"):
        find_router_loss(tiny_llama(), 0.1)


def test_an_unknown_loss_is_left_out_and_told(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = new_model()
    monkeypatch.setattr(
        sys.modules[type(model).__module__], "load_balancing_loss_func", lambda *_: torch.tensor(123.0)
    )
    with caplog.at_level(logging.WARNING, logger="orpo"):
        assert find_router_loss(model, "auto") is None
    assert "router loss is left out, since the model computes 123 where load balancing" in caplog.text
    with pytest.raises(ConfigError, match="computes 123"):
        find_router_loss(model, 0.1)
