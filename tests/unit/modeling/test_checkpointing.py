"""Checkpointing changes what is kept and computed again, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from orpo.batch import Layout, PromptTokens
from orpo.data.collate import batch_totals, collate
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.engine import build_scorer
from orpo.objectives import ORPO
from orpo.training.loss import PairLoss
from tests.loops import random_pairs
from tests.tiny import tiny_llama

PAIRS = list(random_pairs(6))
PRODUCT = "aten.mm.default"
ATTENTION = "aten._scaled_dot_product_flash_attention_for_cpu.default"
SQUARE_ROOT = "aten.rsqrt.default"


class Counted(TorchDispatchMode):
    """Counts operators."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        self.calls[str(func)] += 1
        return func(*args, **(kwargs or {}))


def gradient_and_calls(mode: bool | None) -> tuple[Tensor, Counter[str]]:
    """The gradient and the operators of a step; `mode` is `selective`, or None for no checkpointing."""
    model = tiny_llama(initializer_range=0.2)
    if mode is not None:
        checkpoint_activations(model, selective=mode)
    scorer = build_scorer(model.train(), layout=Layout.SHARED, max_length=128)
    batch = collate(PAIRS, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    with scorer.attention(), Counted() as counted:
        PairLoss(scorer, ORPO())(batch, batch_totals(PAIRS, PromptTokens.ALL), torch.ones(())).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), counted.calls


@pytest.mark.parametrize("selective", [False, True])
def test_the_gradient_is_the_same(selective: bool) -> None:
    assert torch.equal(gradient_and_calls(selective)[0], gradient_and_calls(None)[0])


def test_selective_checkpointing_repeats_norms_and_neither_products_nor_attention() -> None:
    (_, plain), (_, selective), (_, full) = (gradient_and_calls(mode) for mode in (None, True, False))
    assert full[PRODUCT] > plain[PRODUCT]
    assert full[ATTENTION] > plain[ATTENTION] > 0
    assert selective[PRODUCT] == plain[PRODUCT]
    assert selective[ATTENTION] == plain[ATTENTION]
    assert selective[SQUARE_ROOT] > plain[SQUARE_ROOT]
