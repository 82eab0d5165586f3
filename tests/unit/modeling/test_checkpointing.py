"""Checkpointing changes what is kept and computed again, and nothing else."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

import pytest
import torch
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from torch.utils._python_dispatch import TorchDispatchMode

from orpo.batch import Layout, PromptTokens
from orpo.data.collate import batch_totals, collate
from orpo.modeling import checkpointing
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.engine import build_scorer
from orpo.modeling.lora import add_lora
from orpo.objectives import ORPO
from orpo.training.loss import PairLoss
from tests.loops import random_pairs
from tests.tiny import tiny_llama

PAIRS = list(random_pairs(6))
Mode = Literal["full", "selective", "offload"]

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


def gradient_and_calls(
    mode: Mode | None, layout: Layout = Layout.SHARED, *, lora: bool = False
) -> tuple[Tensor, Counter[str]]:
    """The gradient and the operators of a step; None is without checkpointing."""
    base = tiny_llama(initializer_range=0.2)
    if mode is not None:
        checkpoint_activations(base, **{mode: True} if mode != "full" else {})
    model: Any = base
    if lora:
        torch.manual_seed(0)
        model = add_lora(base, r=2, alpha=4, dropout=0.0, target="all-linear")
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(parameter)
    scorer = build_scorer(model.train(), layout=layout, max_length=128)
    batch = collate(PAIRS, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    with scorer.attention(), Counted() as counted:
        PairLoss(scorer, ORPO())(batch, batch_totals(PAIRS, PromptTokens.ALL), torch.ones(())).loss.backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None]), counted.calls


@pytest.mark.parametrize("lora", [False, True], ids=["whole model", "adapters"])
@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("mode", ["full", "selective", "offload"])
def test_the_gradient_is_the_same(mode: Mode, layout: Layout, lora: bool) -> None:
    found, calls = gradient_and_calls(mode, layout, lora=lora)
    expected, plain_calls = gradient_and_calls(None, layout, lora=lora)
    assert torch.equal(found, expected)
    assert calls[SQUARE_ROOT] > plain_calls[SQUARE_ROOT], "norms are computed again"


@pytest.mark.parametrize("mode", ["full", "selective", "offload"])
def test_it_draws_no_random_number_of_the_run(mode: Mode) -> None:
    """Or adapters' dropout in training would depend on the mode."""
    base = tiny_llama()
    add_lora(base, r=2, alpha=4, dropout=0.5, target="all-linear")
    before = torch.get_rng_state()
    checkpoint_activations(base, **{mode: True} if mode != "full" else {})
    assert torch.equal(torch.get_rng_state(), before)


def test_offloading_moves_what_layers_are_given_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hooks of a GPU's, on tensors that are said to be on one."""
    moved: list[torch.Size] = []

    class Watched(save_on_cpu):
        def __init__(self, *, pin_memory: bool) -> None:
            assert pin_memory
            super().__init__()
            pack = self.pack_hook

            def watch(tensor: Tensor) -> Any:
                moved.append(tensor.shape)
                return pack(tensor)

            self.pack_hook = watch

    monkeypatch.setattr(checkpointing, "save_on_cpu", Watched)
    monkeypatch.setattr(checkpointing, "_is_on_device", lambda args: True)
    found, calls = gradient_and_calls("offload")
    expected, expected_calls = gradient_and_calls("full")
    assert torch.equal(found, expected)
    assert calls[PRODUCT] == expected_calls[PRODUCT]
    tokens = sum(len(pair.prompt) + len(pair.chosen) + len(pair.rejected) for pair in PAIRS)
    assert moved == [torch.Size([1, tokens, 32])] * 2, "the states that each of the two layers is given"


def test_selective_checkpointing_repeats_norms_and_neither_products_nor_attention() -> None:
    (_, plain), (_, selective), (_, full) = (gradient_and_calls(mode) for mode in (None, "selective", "full"))
    assert full[PRODUCT] > plain[PRODUCT]
    assert full[ATTENTION] > plain[ATTENTION] > 0
    assert selective[PRODUCT] == plain[PRODUCT]
    assert selective[ATTENTION] == plain[ATTENTION]
    assert selective[SQUARE_ROOT] > plain[SQUARE_ROOT]
