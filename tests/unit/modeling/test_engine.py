"""What is not exact for a model is noticed, whatever the model's weights and type."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import (
    AttentionInterface,
    AttentionMaskInterface,
    BloomConfig,
    BloomForCausalLM,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    PhimoeConfig,
    PhimoeForCausalLM,
    PreTrainedModel,
    Qwen2Config,
    Qwen2ForCausalLM,
)
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

from orpo.batch import Layout
from orpo.errors import ConfigError
from orpo.modeling.engine import build_scorer, why_not_exact
from orpo.modeling.head import FusedHead
from orpo.modeling.lora import add_lora
from orpo.ops.attention import backends
from orpo.ops.attention.backends import Backend
from orpo.ops.attention.cpu import cpu_attention
from tests.tiny import tiny_llama

SHAPE: dict[str, Any] = {
    "vocab_size": 64,
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.3,
}

packed_layouts = pytest.mark.parametrize("layout", [Layout.SHARED, Layout.PACKED])
dtypes = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])


def llama(dtype: torch.dtype = torch.float32, *, initializer_range: float = 0.3) -> LlamaForCausalLM:
    model: Any = tiny_llama(initializer_range=initializer_range).eval()
    return model.to(dtype)


def mistral(window: int | None) -> MistralForCausalLM:
    torch.manual_seed(0)
    return MistralForCausalLM(MistralConfig(**SHAPE, sliding_window=window)).eval()


def bloom() -> BloomForCausalLM:
    return BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2)).eval()


def layer(model: PreTrainedModel, index: int, part: str = "") -> nn.Module:
    return model.get_submodule(f"model.layers.{index}{part}")


# What is exact


@dtypes
@packed_layouts
@pytest.mark.parametrize("initializer_range", [1e-3, 0.02, 0.3])
def test_a_model_of_any_type_and_weights_passes(
    initializer_range: float, layout: Layout, dtype: torch.dtype
) -> None:
    assert why_not_exact(llama(dtype, initializer_range=initializer_range), layout, 64) is None


@packed_layouts
@pytest.mark.parametrize("window", [None, 2, 7, 4096])
def test_a_sliding_window_of_any_width_passes(window: int | None, layout: Layout) -> None:
    assert why_not_exact(mistral(window), layout, 64) is None


@packed_layouts
def test_trying_a_model_out_leaves_no_trace(layout: Layout) -> None:
    model = mistral(4096)
    ids = torch.tensor([[5, 6, 7, 8]])
    before, own = model(input_ids=ids).logits, model.config._attn_implementation
    why_not_exact(model, layout, 64)
    assert model.config._attn_implementation == own
    assert model.config.sliding_window == 4096
    assert not model.get_input_embeddings()._forward_hooks
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(model(input_ids=ids).logits, before)


# What is not


def mix_neighbours(model: PreTrainedModel, share: float) -> None:
    """A token mixer beside attention, as convolutions and recurrent layers are."""
    layer(model, 0).register_forward_hook(
        lambda _module, _args, output: output + share * output.roll(1, dims=1).tril()
    )


def ignore_positions(model: PreTrainedModel) -> None:
    def forget(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"position_ids": None}

    model.get_submodule("model").register_forward_pre_hook(forget, with_kwargs=True)


def swallow_keywords(model: PreTrainedModel) -> None:
    def swallow(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, {name: value for name, value in kwargs.items() if name != "orpo_attention"}

    layer(model, 1).register_forward_pre_hook(swallow, with_kwargs=True)


def bias_attention(model: PreTrainedModel) -> None:
    def add(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"position_bias": torch.zeros(1)}

    layer(model, 1, ".self_attn").register_forward_pre_hook(add, with_kwargs=True)


def mask_attention(model: PreTrainedModel) -> None:
    def mask(_module: nn.Module, args: Any, kwargs: dict[str, Any]) -> Any:
        return args, kwargs | {"attention_mask": torch.zeros(1, 1, 1, 1, dtype=model.dtype)}

    layer(model, 0, ".self_attn").register_forward_pre_hook(mask, with_kwargs=True)


def attend_twice(model: PreTrainedModel) -> None:
    attention = layer(model, 0, ".self_attn")
    plain = attention.forward

    def twice(*args: Any, **kwargs: Any) -> Any:
        plain(*args, **kwargs)
        return plain(*args, **kwargs)

    attention.forward = twice


def share_a_layer(model: PreTrainedModel) -> None:
    layers: Any = model.get_submodule("model.layers")
    layers[1] = layers[0]


def skip_a_layer(model: PreTrainedModel) -> None:
    layer(model, 1, ".self_attn").forward = lambda hidden_states, **_: (hidden_states, None)


@dtypes
@packed_layouts
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: mix_neighbours(model, 1.0), "something beside attention mixes tokens"),
        (lambda model: mix_neighbours(model, 1e-4), "something beside attention mixes tokens"),
        (ignore_positions, "it does not take positions as they are given"),
        (swallow_keywords, "LlamaAttention: packed attention was called without a packed row"),
        (bias_attention, "its attention depends on position_bias"),
        (mask_attention, "its attention depends on attention_mask"),
        (attend_twice, "its 2 layers make 3 calls from 2 modules"),
        (share_a_layer, "its 2 layers make 2 calls from 1 modules"),
        (skip_a_layer, "its 2 layers make 1 calls from 1 modules"),
    ],
    ids=[
        "mixes a lot",
        "mixes a little",
        "ignores positions",
        "swallows keywords",
        "biases attention",
        "masks attention",
        "attends twice",
        "shares a layer",
        "skips a layer",
    ],
)
def test_what_a_model_does_besides_is_noticed(
    change: Callable[[PreTrainedModel], None], reason: str, layout: Layout, dtype: torch.dtype
) -> None:
    model = llama(dtype)
    change(model)
    found = why_not_exact(model, layout, 64)
    assert found is not None
    assert reason in found
    assert "\n" not in found


def test_a_leak_is_noticed_far_below_rounding() -> None:
    model = llama()
    mix_neighbours(model, 1e-30)
    assert "something beside attention" in (why_not_exact(model, Layout.SHARED, 64) or "")


@packed_layouts
@pytest.mark.parametrize("window", [2, 7, 4096])
def test_a_window_that_is_in_a_models_masks_alone_is_noticed_at_any_width(
    window: int, layout: Layout
) -> None:
    """PhiMoE passes no window on to its attention function, and no text of the probe is as long as most."""
    torch.manual_seed(0)
    config = PhimoeConfig(**SHAPE, sliding_window=window, num_local_experts=2)
    assert "differs from its texts" in (why_not_exact(PhimoeForCausalLM(config).eval(), layout, 64) or "")
    config.sliding_window = None
    assert why_not_exact(PhimoeForCausalLM(config).eval(), layout, 64) is None


@packed_layouts
@pytest.mark.parametrize("window", [2, 7, 4096])
def test_a_layer_that_asks_for_another_window_than_its_type_says_is_noticed(
    window: int, layout: Layout
) -> None:
    torch.manual_seed(0)
    types = ["sliding_attention", "full_attention"]
    config = Qwen2Config(**SHAPE, use_sliding_window=True, sliding_window=window, layer_types=types)
    model = Qwen2ForCausalLM(config).eval()
    attention: Any = [layer(model, index, ".self_attn") for index in range(2)]
    assert why_not_exact(model, layout, 64) is None
    attention[0].sliding_window = None
    assert "layer 0 should see" in (why_not_exact(model, layout, 64) or "")
    attention[0].sliding_window = attention[1].sliding_window = window
    assert "layer 1 should see all tokens" in (why_not_exact(model, layout, 64) or "")
    assert attention[0].sliding_window == window


@dtypes
@packed_layouts
def test_attention_of_a_models_own_is_noticed(layout: Layout, dtype: torch.dtype) -> None:
    def odd(module: nn.Module, query: Tensor, *args: Any, **kwargs: Any) -> Any:
        return sdpa_attention_forward(module, -query, *args, **kwargs)

    AttentionInterface.register("test_odd", odd)
    AttentionMaskInterface.register("test_odd", sdpa_mask)
    model = llama(dtype)
    model.set_attn_implementation("test_odd")
    assert "differs from its texts" in (why_not_exact(model, layout, 64) or "")
    assert model.config._attn_implementation == "test_odd"


@pytest.mark.parametrize("layout", ["shared", "packed"])
def test_attention_that_is_wrong_in_the_type_of_the_products_alone_is_noticed(
    monkeypatch: pytest.MonkeyPatch, layout: str
) -> None:
    """Another type may have another backend."""

    def faulty(query: Tensor, key: Tensor, value: Tensor, *args: Any, **options: Any) -> Tensor:
        shift = 1 if query.dtype == torch.bfloat16 else 0
        return cpu_attention(query, key, value.roll(shift, 2), *args, **options)

    monkeypatch.setitem(backends.ATTENTION, Backend.CPU, faulty)
    model = tiny_llama(initializer_range=0.3)
    assert build_scorer(model, layout=Layout(layout), max_length=64).layout == layout
    with pytest.raises(ConfigError, match="not exact"):
        build_scorer(model, layout=Layout(layout), max_length=64, products=torch.bfloat16)


@packed_layouts
@pytest.mark.parametrize(("limit", "exact"), [(64, True), (65, False)])
@pytest.mark.parametrize("kind", ["dynamic", "longrope"])
def test_positions_that_depend_on_length_are_exact_up_to_a_limit(
    kind: str, limit: int, exact: bool, layout: Layout
) -> None:
    config = copy.deepcopy(llama().config)
    config.max_position_embeddings = 64
    config.rope_parameters = {"rope_type": kind, "rope_theta": 1e4, "factor": 2.0}
    if kind == "longrope":
        config.rope_parameters |= {
            "short_factor": [1.0] * 4,
            "long_factor": [2.0] * 4,
            "original_max_position_embeddings": 64,
        }
    reason = why_not_exact(LlamaForCausalLM(config).eval(), layout, limit)
    assert (reason is None) == exact
    assert exact or f"its {kind} positions depend on the longest text" in str(reason)


def test_running_out_of_memory_is_not_taken_for_a_reason() -> None:
    def exhaust(*_: Any) -> None:
        raise torch.OutOfMemoryError("out of memory")

    model = llama()
    layer(model, 0).register_forward_pre_hook(exhaust)
    with pytest.raises(torch.OutOfMemoryError):
        why_not_exact(model, Layout.SHARED, 64)


# The scorer


def test_the_best_layout_is_chosen_and_the_model_left_in_its_mode() -> None:
    for training in (True, False):
        model = llama().train(training)
        scorer = build_scorer(model, layout="auto", max_length=64)
        assert scorer.layout is Layout.SHARED
        assert isinstance(scorer.head, FusedHead)
        assert model.training is training


@pytest.mark.parametrize("layout", Layout)
def test_a_layout_that_is_asked_for_is_taken(layout: Layout) -> None:
    assert build_scorer(llama(), layout=layout, max_length=64).layout is layout


@packed_layouts
def test_a_layout_that_is_asked_for_and_not_exact_is_refused_with_the_reason(layout: Layout) -> None:
    with pytest.raises(
        ConfigError,
        match=rf"training\.layout: {layout} is not exact for BloomForCausalLM: its attention does not go",
    ) as caught:
        build_scorer(bloom(), layout=layout, max_length=64)
    assert caught.value.hint == "Use auto or padded."


def test_falling_back_says_why_in_one_line(caplog: pytest.LogCaptureFixture) -> None:
    model = bloom()
    with caplog.at_level(logging.INFO, logger="orpo"):
        scorer = build_scorer(model, layout="auto", max_length=64)
    assert scorer.layout is Layout.PADDED
    (line,) = caplog.messages
    assert "BloomForCausalLM" in line
    assert "its attention does not go through transformers' attention interface" in line


def test_a_head_that_is_not_fused_is_said(caplog: pytest.LogCaptureFixture) -> None:
    adapted = add_lora(llama(), r=2, alpha=4, dropout=0.0, target=["lm_head"])
    with caplog.at_level(logging.INFO, logger="orpo"):
        build_scorer(adapted, layout="auto", max_length=64)
    assert "scores through the head's own forward pass" in caplog.text
