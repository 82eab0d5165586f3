"""Adapters start as nothing, and their scale and place are as asked, or it is said why not.

Saving them: test_save.py.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import torch
from peft import PeftModel
from transformers import PreTrainedModel

from orpo.errors import ConfigError
from orpo.modeling.lora import add_lora
from tests.families import zoo
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


def adapted(model: PreTrainedModel, **given: Any) -> PeftModel:
    return add_lora(model, **({"r": 2, "alpha": 4, "dropout": 0.0, "target": "all-linear"} | given))


ROUTERS = {"phimoe": zoo.PADDED["phimoe"][0], "llama4": zoo.PADDED["llama4"][0]}
"""Families whose routers are linear layers by their class and return their choice too."""


@pytest.mark.parametrize("family", ROUTERS)
def test_all_linear_leaves_out_what_returns_more_than_a_product(family: str) -> None:
    model = ROUTERS[family].build()
    expected = model(input_ids=IDS).logits
    found = adapted(model)
    assert not [name for name, _ in found.named_parameters() if "router.lora" in name]
    assert torch.equal(found(input_ids=IDS).logits, expected)


@pytest.mark.parametrize("family", ROUTERS)
@pytest.mark.parametrize("target", [["router", "q_proj"], r".*\.router"], ids=str)
def test_such_a_router_is_refused_by_name_and_by_pattern(family: str, target: str | list[str]) -> None:
    with pytest.raises(
        ConfigError, match=r"target: model\.layers\.\d\.\S*router is a \w+Router, which returns"
    ):
        adapted(ROUTERS[family].build(), target=target)


@pytest.mark.parametrize(("key", "value"), [("dora", True), ("dropout", 0.1)])
def test_what_stacked_experts_cannot_have_is_refused_by_its_name(key: str, value: float) -> None:
    with pytest.raises(
        ConfigError, match=rf"model\.lora\.{key}: .* down_proj, gate\.weight, gate_up_proj"
    ) as caught:
        adapted(zoo.SHARED["mixtral"].build(), **{key: value})
    assert "q_proj" in str(caught.value.hint)
    adapted(zoo.SHARED["mixtral"].build(), **{key: value}, target=["q_proj"])


def test_a_pattern_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"target: \*q_proj is not a regular expression: nothing to repeat"):
        adapted(tiny_llama(), target="*q_proj")


def left(caplog: pytest.LogCaptureFixture, model: PreTrainedModel, **given: Any) -> list[tuple[int, str]]:
    """What is said to be left without adapters: percent, and names."""
    with caplog.at_level(logging.INFO, logger="orpo"):
        adapted(model, **given)
    pattern = r"target: (\d+) % of the weights, embeddings and head aside, get no adapter: (.*)"
    return [(int(share), names) for share, names in re.findall(pattern, caplog.text)]


def test_most_of_a_model_left_without_adapters_is_said(caplog: pytest.LogCaptureFixture) -> None:
    model = zoo.SHARED["gpt_oss"].build()
    weights = {name: p.numel() for name, p in model.named_parameters() if p.ndim > 1 and "bias" not in name}
    layers = {name: size for name, size in weights.items() if "embed" not in name and "lm_head" not in name}
    experts = sum(size for name, size in layers.items() if ".mlp." in name)
    expected = round(100 * experts / sum(layers.values()))
    assert left(caplog, model) == [(expected, "gate_up_proj, down_proj, router")]


def test_half_a_model_or_less_is_not(caplog: pytest.LogCaptureFixture) -> None:
    assert not left(caplog, tiny_llama())
    assert not left(caplog, tiny_llama(), target=["gate_proj", "up_proj", "down_proj"])
    assert not left(caplog, tiny_llama(), target=["q_proj"], modules_to_save=["mlp"])
    assert not left(caplog, zoo.SHARED["mixtral"].build())


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("modules_to_save", {"modules_to_save": ["lm_head"]}),
        ("target", {"target": ["embed_tokens"]}),
        ("target", {"target": ["q_proj", "lm_head"]}),
        ("target", {"target": ".*lm_head"}),
        ("target", {"target": r".*(q_proj|embed_tokens)"}),
    ],
    ids=str,
)
def test_embeddings_that_are_the_head_are_not_trained_apart(key: str, given: dict[str, Any]) -> None:
    model = tiny_llama()
    model.lm_head.weight = model.model.embed_tokens.weight
    with pytest.raises(ConfigError, match=rf"model.lora.{key}: the weights of .* are another module's too"):
        add_lora(model, **({"r": 2, "alpha": 4, "dropout": 0.0, "target": "all-linear"} | given))


def test_an_unknown_module_to_save_lists_the_modules() -> None:
    with pytest.raises(ConfigError, match="modules_to_save: the model has no module head") as caught:
        add_lora(tiny_llama(), r=2, alpha=4, dropout=0.0, target="all-linear", modules_to_save=["head"])
    assert "lm_head" in str(caught.value.hint)


def test_one_unknown_target_among_known_ones_is_refused() -> None:
    with pytest.raises(ConfigError, match="no module v_porj"):
        add_lora(tiny_llama(), r=2, alpha=4, dropout=0.0, target=["q_proj", "v_porj"])


def test_an_unknown_target_lists_the_modules() -> None:
    with pytest.raises(ConfigError, match="q_proj") as caught:
        add_lora(tiny_llama(), r=2, alpha=4, dropout=0.0, target=["query"])
    assert "query" in caught.value.message


def test_only_the_adapters_are_trained() -> None:
    model = add_lora(tiny_llama(), r=2, alpha=4, dropout=0.0, target=["q_proj", "v_proj"])
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert trained
    assert all(".lora_" in name for name in trained)
    assert all("q_proj" in name or "v_proj" in name for name in trained)
