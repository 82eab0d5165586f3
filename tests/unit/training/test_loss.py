"""The loss is the same whether the head goes through the pairs at once or in parts."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from orpo.batch import Layout, PromptTokens
from orpo.data.collate import batch_totals, collate
from orpo.modeling import head
from orpo.modeling.engine import build_scorer
from orpo.modeling.lora import add_lora
from orpo.objectives import ORPO, ObjectiveOutput
from orpo.objectives.orpo import Definition
from orpo.training.loss import PairLoss, parts_of
from tests.loops import random_pairs
from tests.tiny import tiny_llama

PAIRS = list(random_pairs(9))
ROW = 4 * 64
"""Bytes of a row of head outputs."""


def limit_rows(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `rows` head outputs be all that is scored together, and all that is kept of a pair."""
    monkeypatch.setattr(head, "MIN_ROWS", 1)
    for limits in (head.PART_BYTES, head.KEEP_BYTES):
        monkeypatch.setitem(limits, "cpu", rows * ROW)


def build(*, tied: bool = False, bias: bool = False, lora: bool = False) -> PairLoss:
    model: Any = tiny_llama(initializer_range=0.2)
    if tied:
        model.lm_head.weight = model.model.embed_tokens.weight
    if bias:
        model.lm_head.bias = torch.nn.Parameter(torch.linspace(-1, 1, 64))
    model = model.double()
    if lora:
        model = add_lora(model, r=2, alpha=4, dropout=0.0, target=["q_proj", "v_proj"])
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
    return PairLoss(build_scorer(model, layout=Layout.SHARED, max_length=128), ORPO(0.5))


def run(loss: PairLoss, definition: Definition = "paper", factor: float = 3.0) -> ObjectiveOutput:
    """The loss of all pairs in one micro-batch, after its backward pass."""
    loss.objective = ORPO(0.5, definition)
    batch = collate(PAIRS, loss.scorer.layout, pad_id=0, prompt_tokens=loss.objective.prompt_tokens)
    with loss.scorer.attention():
        output = loss(batch, batch_totals(PAIRS, PromptTokens.ALL), torch.tensor(factor, dtype=torch.float64))
        output.loss.backward()
    return output


def gradients(loss: PairLoss) -> dict[str, Tensor]:
    return {name: p.grad for name, p in loss.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("definition", ["paper", "trl"])
@pytest.mark.parametrize("kind", [{}, {"tied": True}, {"bias": True}], ids=str)
@pytest.mark.parametrize("rows", [1, 40, 90])
def test_parts_of_any_size_give_the_same_loss_metrics_and_gradients(
    rows: int, kind: dict[str, bool], definition: Definition, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = build(**kind)
    expected = run(whole, definition)
    limit_rows(rows, monkeypatch)
    parted = build(**kind)
    found = run(parted, definition)
    torch.testing.assert_close(found.loss, expected.loss)
    torch.testing.assert_close(found.metrics, expected.metrics)
    torch.testing.assert_close(gradients(parted), gradients(whole))


def test_the_head_goes_through_the_pairs_in_parts_and_logits_of_one_part_exist_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    compute = head.FusedHead.log_probs

    def counting(self: head.FusedHead, hidden: Tensor, *rest: Any) -> Tensor:
        calls.append(len(hidden))
        return compute(self, hidden, *rest)

    monkeypatch.setattr(head.FusedHead, "log_probs", counting)
    limit_rows(60, monkeypatch)
    run(build())
    scored = sum(len(pair.chosen) + len(pair.rejected) for pair in PAIRS)
    assert len(calls) > 1
    assert sum(calls) == scored


def test_a_frozen_head_needs_no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairLoss, "_by_parts", None)
    limit_rows(1, monkeypatch)
    loss = build(lora=True)
    run(loss)
    assert {name.split(".")[-2] for name in gradients(loss)} == {"default"}


def test_the_factor_multiplies_loss_and_gradients_and_not_the_metrics(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for rows in (10**6, 40):
        limit_rows(rows, monkeypatch)
        once, thrice = build(), build()
        single, triple = run(once, factor=1.0), run(thrice, factor=3.0)
        torch.testing.assert_close(triple.loss, 3 * single.loss)
        torch.testing.assert_close(triple.metrics, single.metrics)
        expected = {name: 3 * gradient for name, gradient in gradients(once).items()}
        # The model's norms are computed in float32, whatever its type.
        torch.testing.assert_close(gradients(thrice), expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_of_parts_is_multiplied_by_what_comes_from_outside(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    limit_rows(40, monkeypatch)
    inside, outside = build(), build()
    run(inside, factor=5.0)
    batch = collate(PAIRS, outside.scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    with outside.scorer.attention():
        output = outside(batch, batch_totals(PAIRS, PromptTokens.ALL), torch.ones((), dtype=torch.float64))
        (5 * output.loss).backward()
    torch.testing.assert_close(gradients(outside), gradients(inside), rtol=1e-5, atol=1e-6)


def test_without_gradient_there_are_no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(PairLoss, "_by_parts", None)
    limit_rows(1, monkeypatch)
    loss = build()
    batch = collate(PAIRS, loss.scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    with torch.no_grad(), loss.scorer.attention():
        assert loss(batch, batch_totals(PAIRS, PromptTokens.ALL), torch.ones(())).loss > 0


def test_parts_hold_what_fits_and_a_larger_pair_alone() -> None:
    offsets = (0, 4, 8, 30, 33, 36)
    assert list(parts_of(offsets, 8)) == [(0, 2), (2, 3), (3, 5)]
    assert list(parts_of(offsets, 100)) == [(0, 5)]
    assert list(parts_of(offsets, 1)) == [(0, 1), (1, 2), (2, 3), (3, 4), (4, 5)]
