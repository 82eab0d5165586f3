"""Adapters start as nothing, and their scale and place are as asked.  Saving them: test_save.py."""

from __future__ import annotations

import pytest
import torch

from orpo.modeling.lora import add_lora
from tests.tiny import tiny_llama

IDS = torch.tensor([[5, 6, 7, 8]])


def test_before_training_the_adapted_model_is_its_base() -> None:
    expected = tiny_llama()(input_ids=IDS).logits
    adapted = add_lora(tiny_llama(), r=4, alpha=8, dropout=0.0, target="all-linear")
    assert torch.equal(adapted(input_ids=IDS).logits, expected)


@pytest.mark.parametrize(("r", "alpha"), [(2, 2.0), (2, 8.0), (4, 2.0)])
def test_the_product_of_the_adapters_is_multiplied_by_alpha_over_r(r: int, alpha: float) -> None:
    adapted = add_lora(tiny_llama(), r=r, alpha=alpha, dropout=0.0, target=["q_proj"])
    layer = adapted.get_base_model().get_submodule("model.layers.0.self_attn.q_proj")
    down, up = (layer.get_submodule(f"lora_{side}.default") for side in "AB")
    assert isinstance(down.weight, torch.Tensor)
    assert isinstance(up.weight, torch.Tensor)
    torch.nn.init.normal_(up.weight)
    x = torch.randn(3, down.weight.shape[1])
    base = layer.get_submodule("base_layer")
    expected = base(x) + (alpha / r) * (x @ down.weight.T @ up.weight.T)
    torch.testing.assert_close(layer(x), expected)


def test_the_head_and_the_embeddings_stay_as_they_are_with_all_linear() -> None:
    adapted = add_lora(tiny_llama(), r=2, alpha=4, dropout=0.0, target="all-linear")
    places = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    assert not [name for name in places if "lm_head" in name or "embed" in name]
    assert {name.split(".")[-4] for name in places} == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip
