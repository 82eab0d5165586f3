"""Adapters over a base of 4 bits: real codes, real training, and weights that can be merged.

Needs bitsandbytes, which has kernels for processors too.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor, nn
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
)

from orpo.batch import Layout
from orpo.errors import ConfigError
from orpo.modeling.engine import build_scorer
from orpo.modeling.head import FusedHead
from orpo.modeling.load import load_model
from orpo.modeling.lora import add_lora
from orpo.modeling.quantization import is_quantized
from orpo.modeling.save import save_model
from tests.loops import make_loop, random_pairs
from tests.tiny import save_tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9]])


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base")


def quantized(base: Path, **given: Any) -> Any:
    pytest.importorskip("bitsandbytes")
    return load_model(str(base), quantization="nf4", **given).model


def adapted(base: Path, *, dora: bool = False, **given: Any) -> PeftModel:
    return add_lora(quantized(base, **given), r=2, alpha=4, dropout=0.0, target="all-linear", dora=dora)


class Losses(TrainerCallback):
    """Keeps the loss of each step."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        self.values += [kwargs["logs"]["loss"]] if "loss" in kwargs["logs"] else []


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def test_linear_layers_are_4_bits_with_quantised_scales_and_the_head_is_not(base: Path) -> None:
    model = quantized(base, products=torch.bfloat16)
    layer = model.model.layers[0].mlp.up_proj
    assert is_quantized(model)
    assert layer.weight.dtype == torch.uint8
    assert layer.weight.numel() * 2 == layer.in_features * layer.out_features
    assert layer.weight.quant_state.quant_type == "nf4"
    assert layer.weight.quant_state.nested
    assert layer.compute_dtype == torch.bfloat16
    assert type(model.lm_head) is nn.Linear
    assert model.lm_head.weight.dtype == model.model.embed_tokens.weight.dtype == torch.float32


def test_codes_and_scales_stay_as_they_are_when_the_model_is_used(base: Path) -> None:
    model = quantized(base)
    weight = model.model.layers[0].mlp.up_proj.weight
    before = weight.detach().clone(), weight.quant_state.absmax.clone()
    logits(model)
    assert torch.equal(weight, before[0])
    assert torch.equal(weight.quant_state.absmax, before[1])


def test_the_engine_is_exact_and_training_lowers_the_loss(base: Path) -> None:
    pairs = random_pairs(8)
    losses: list[list[float]] = []
    for layout in (Layout.SHARED, Layout.PADDED):
        torch.manual_seed(0)
        model = adapted(base)
        assert build_scorer(model, layout="auto", max_length=64).layout is Layout.SHARED
        seen = Losses()
        loop = make_loop(model=model, pairs=pairs, layout=layout, callbacks=[seen], log_every=1, epochs=6)
        assert isinstance(loop._gradient_step.plain.scorer.head, FusedHead)
        loop.run()
        losses.append(seen.values)
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)
    assert len(losses[0]) == 6
    assert losses[0][-1] < losses[0][0]


@pytest.mark.parametrize("dora", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_merging_gives_an_unquantised_model_with_the_adapters_logits(
    base: Path, dora: bool, dtype: str, tmp_path: Path
) -> None:
    model = adapted(base, dora=dora, dtype=dtype)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    expected = logits(model)
    save_model(
        model, AutoTokenizer.from_pretrained(base), tmp_path / "out", merge=True, stop_ids=(2,), card=""
    )
    assert "quantization_config" not in json.loads((tmp_path / "out" / "config.json").read_text())
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto")
    assert {str(parameter.dtype) for parameter in merged.parameters()} == {f"torch.{dtype}"}
    tolerance = 1e-4 if dtype == "float32" else 0.05
    assert (logits(merged) - expected).norm() <= tolerance * expected.norm()
    assert is_quantized(model.get_base_model())  # type: ignore[arg-type]
    assert torch.equal(logits(model), expected), "the trained model is as it was"


def test_an_adapter_comes_back_over_its_quantised_base(base: Path, tmp_path: Path) -> None:
    model = adapted(base)
    expected = logits(model)
    save_model(
        model, AutoTokenizer.from_pretrained(base), tmp_path / "out", merge=False, stop_ids=(2,), card=""
    )
    again = PeftModel.from_pretrained(quantized(base), tmp_path / "out")
    assert torch.equal(logits(again), expected)


def test_without_bitsandbytes_the_message_says_how_to_get_it(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)
    with pytest.raises(ConfigError, match="quantization: nf4 is bitsandbytes'") as caught:
        load_model(str(base), quantization="nf4")
    assert "orpo[bitsandbytes]" in str(caught.value.hint)
