"""Merged weights are the model with its adapters, whatever they are, and what PEFT makes of them."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM, PeftModel
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel

from orpo.errors import NumericsError
from orpo.modeling.lora import add_lora
from orpo.modeling.merge import merged_weights
from orpo.modeling.quantization import keep_codes, quantization_config
from orpo.modeling.save import save_model
from tests.families import zoo
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_llama

IDS = torch.tensor([[5, 6, 7, 8, 9]])

KINDS: dict[str, dict[str, Any]] = {
    "lora": {},
    "rslora": {"rslora": True},
    "dora": {"dora": True},
    "both": {"rslora": True, "dora": True},
    "whole": {"modules_to_save": ["lm_head", "embed_tokens"]},
    "embeddings": {"target": ["q_proj", "embed_tokens", "lm_head"]},
    "pattern": {"target": r".*\.1\.mlp\.\w+_proj"},
}


def logits(model: nn.Module) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def adapted(model: Any, **kind: Any) -> PeftModel:
    """A model with adapters that have learnt something."""
    given = {"r": 4, "alpha": 8, "dropout": 0.0, "target": "all-linear"} | kind
    peft_model = add_lora(model, **given)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in peft_model.named_parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter) * (parameter.abs().mean() + ("lora_B" in name))
    return peft_model


def plain(weights: dict[str, Tensor]) -> nn.Module:
    model = tiny_llama()
    model.load_state_dict(weights)
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_merged_weights_are_the_model_with_its_adapters(kind: str) -> None:
    model = adapted(tiny_llama(initializer_range=0.2), **KINDS[kind])
    before = {name: value.clone() for name, value in model.state_dict().items()}
    expected = logits(model)
    found = logits(plain(merged_weights(model)))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(expected, logits(tiny_llama(initializer_range=0.2)), atol=1e-2)
    after = model.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("kind", ["lora", "rslora", "dora", "both"])
def test_they_are_those_of_pefts_own_merge(kind: str) -> None:
    model = adapted(tiny_llama(initializer_range=0.2), **KINDS[kind])
    ours = merged_weights(model)
    theirs = model.merge_and_unload().state_dict()  # type: ignore[operator]
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dora", [False, True])
def test_weights_that_are_kept_transposed(dora: bool) -> None:
    torch.manual_seed(0)
    config = GPT2Config(vocab_size=64, n_positions=32, n_embd=32, n_layer=2, n_head=2, initializer_range=0.2)
    model = adapted(GPT2LMHeadModel(config).eval(), dora=dora)
    expected = logits(model)
    merged = GPT2LMHeadModel(config)
    merged.load_state_dict(merged_weights(model))
    torch.testing.assert_close(logits(merged), expected, rtol=1e-4, atol=1e-4)


MIXTURES = ("mixtral", "qwen3_moe", "deepseek_v3")
"""Whose experts are stacked tensors with adapters; the last has layers without any besides."""


@pytest.mark.parametrize("family", MIXTURES)
def test_stacked_experts_merge_as_peft_merges_them(family: str) -> None:
    model = adapted(zoo.SHARED[family].build())
    ours = merged_weights(model)
    theirs = model.merge_and_unload().state_dict()  # type: ignore[operator]
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        torch.testing.assert_close(ours[name], weight, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("family", MIXTURES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_saved_merged_mixtures_are_read_back(family: str, dtype: torch.dtype, tmp_path: Path) -> None:
    base: Any = zoo.SHARED[family].build()
    model = adapted(base.to(dtype))
    expected = logits(model)
    save_model(model, byte_tokenizer(), tmp_path / "out", merge=True, stop_ids=(2,), card="")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=dtype)
    assert (logits(merged) - expected).norm() <= (1e-5 if dtype == torch.float32 else 0.1) * expected.norm()


@pytest.mark.parametrize(("family", "target"), [("llama", ["q_proj"]), ("deepseek_v3", "all-linear")])
def test_4_bit_weights_without_adapters_are_written_unquantised_too(
    family: str, target: Any, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    zoo.SHARED[family].build().save_pretrained(tmp_path / "base")
    base = AutoModelForCausalLM.from_pretrained(
        tmp_path / "base", quantization_config=quantization_config("nf4", torch.float32)
    )
    keep_codes(base)
    model = adapted(base, target=target)
    expected = logits(model)
    save_model(model, byte_tokenizer(), tmp_path / "out", merge=True, stop_ids=(2,), card="")
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    assert (logits(merged) - expected).norm() <= 1e-4 * expected.norm()


def test_wrong_weights_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if a kind of adapter were merged by another one's formula."""
    model = adapted(tiny_llama(initializer_range=0.2), dora=True)
    for layer in model.modules():
        if hasattr(layer, "get_delta_weight"):
            monkeypatch.setattr(layer, "scaling", {"default": 1.0})
            break
    merged_weights(model)  # the layer itself has that scale
    layer = model.get_base_model().get_submodule("model.layers.0.mlp.up_proj")
    monkeypatch.setattr(layer, "get_delta_weight", lambda _name: torch.zeros(64, 32))
    with pytest.raises(NumericsError, match="other logits than the adapters"):
        merged_weights(model)


def test_an_update_that_rounding_takes_away_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = add_lora(
        tiny_llama(initializer_range=0.2).bfloat16(), r=2, alpha=4, dropout=0.0, target="all-linear"
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=1e-4)
    with caplog.at_level(logging.WARNING, logger="orpo"):
        merged_weights(model)
    assert "% of what the adapters do" in caplog.text


@pytest.mark.parametrize("kind", ["rslora", "dora", "whole"])
def test_adapters_come_back_through_both_of_pefts_doors(kind: str, tmp_path: Path) -> None:
    base = save_tiny_model(tmp_path / "base")
    model = adapted(AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32), **KINDS[kind])
    tokenizer = AutoTokenizer.from_pretrained(base)
    save_model(model, tokenizer, tmp_path / "adapter", merge=False, stop_ids=(2,), card="")
    fresh = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert torch.equal(logits(PeftModel.from_pretrained(fresh, tmp_path / "adapter")), logits(model))
    auto = AutoPeftModelForCausalLM.from_pretrained(tmp_path / "adapter", dtype=torch.float32)
    assert torch.equal(logits(auto), logits(model))
