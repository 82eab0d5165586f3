"""The head of a model is found with what the model does to its outputs, or not at all."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    LlamaForCausalLM,
    PreTrainedModel,
)
from transformers.modeling_outputs import CausalLMOutputWithPast

from orpo.batch import Layout, PromptTokens
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.modeling import head as head_module
from orpo.modeling.head import FusedHead, ModuleHead, OutputHead, find_head
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer, unwrapped
from orpo.ops.epilogue import LogitTransform
from orpo.ops.head import GradientSum
from tests.tiny import tiny_llama

PAIRS = [
    TokenizedPair((1, 5, 6), (7, 8, 9, 2), (10, 2), "a"),
    TokenizedPair((1,), (11, 2), (12, 13, 14, 15, 16, 2), "b"),
]


def tiny(model_type: str, *, initializer_range: float = 0.3, **settings: Any) -> PreTrainedModel:
    """A random model of a family."""
    torch.manual_seed(0)
    config = AutoConfig.for_model(
        model_type,
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        head_dim=8,
        pad_token_id=0,
        initializer_range=initializer_range,
        **settings,
    )
    return AutoModelForCausalLM.from_config(config).double().eval()


def sums_and_gradients(
    model: PreTrainedModel | PeftModel, head: OutputHead | None
) -> tuple[Tensor, dict[str, Tensor]]:
    """Sums of log-probabilities in the padded layout, and gradients of all that is trained."""
    model.zero_grad()
    batch = collate(PAIRS, Layout.PADDED, pad_id=0, prompt_tokens=PromptTokens.ALL)
    scores = PairScorer(model, layout=Layout.PADDED, head=head)(batch)
    sums = torch.cat((scores.chosen, -2 * scores.rejected, 3 * scores.prompt))
    sums.sum().backward()
    return sums.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def assert_like_whole_logits(model: PreTrainedModel | PeftModel) -> None:
    head = find_head(unwrapped(model))
    assert head is not None
    found, expected = sums_and_gradients(model, head), sums_and_gradients(model, None)
    assert found[1].keys() == expected[1].keys()
    torch.testing.assert_close(found, expected, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize(
    ("model_type", "settings", "transform"),
    [
        ("llama", {}, LogitTransform()),
        ("llama", {"tie_word_embeddings": True}, LogitTransform()),
        ("phi", {}, LogitTransform()),
        ("gemma2", {"final_logit_softcapping": 2.0}, LogitTransform(softcap=2.0)),
        ("gemma2", {"final_logit_softcapping": None}, LogitTransform()),
        ("cohere", {"logit_scale": 0.25}, LogitTransform(scale=0.25)),
        ("granite", {"logits_scaling": 8.0}, LogitTransform(scale=1 / 8)),
        ("nanochat", {"final_logit_softcapping": 5.0}, LogitTransform(softcap=5.0)),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_what_becomes_of_the_heads_outputs_is_found(
    model_type: str, settings: dict[str, Any], transform: LogitTransform
) -> None:
    model = tiny(model_type, **settings)
    head = find_head(model)
    assert isinstance(head, FusedHead)
    assert head.transform == transform
    assert head.layer is model.get_output_embeddings()
    assert_like_whole_logits(model)


@pytest.mark.parametrize(
    ("model_type", "transform"),
    [
        ("gemma2", LogitTransform(softcap=30.0)),
        ("granite", LogitTransform(scale=1 / 8)),
        ("llama", LogitTransform()),
    ],
)
def test_what_is_done_is_told_from_what_is_declared_though_the_models_own_logits_are_tiny(
    model_type: str, transform: LogitTransform
) -> None:
    """Near 0 neither a cap nor its absence would show, and a Llama heeds neither cap nor scale."""
    model: Any = tiny(model_type, initializer_range=1e-6, final_logit_softcapping=30.0, logits_scaling=8.0)
    head = find_head(model.float())
    assert isinstance(head, FusedHead)
    assert head.transform == transform


def test_a_head_with_a_bias_gives_it_a_gradient() -> None:
    model = tiny("phi")
    layer = model.get_output_embeddings()
    nn.init.normal_(layer.bias)  # type: ignore[arg-type,union-attr]
    assert_like_whole_logits(model)
    assert "lm_head.bias" in sums_and_gradients(model, find_head(model))[1]


class Sharpened(LlamaForCausalLM):
    """Does to its logits what no configuration says."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output: Any = super().forward(*args, **kwargs)
        output.logits = output.logits + 0.01 * output.logits.square()
        return output


class Biased(LlamaForCausalLM):
    """Prefers every other token, by little beside the largest logits."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output: Any = super().forward(*args, **kwargs)
        output.logits[..., ::2] += 3
        return output


class Stretched(LlamaForCausalLM):
    """Has a scale that no configuration tells."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output: Any = super().forward(*args, **kwargs)
        output.logits = output.logits * 1.05
        return output


class Masked(LlamaForCausalLM):
    """Forbids one token."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        output: Any = super().forward(*args, **kwargs)
        output.logits[..., 3] = -1e9
        return output


class Shrunk(LlamaForCausalLM):
    """Scales its states before the head."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.lm_head.register_forward_pre_hook(lambda _layer, args: (args[0] / 2,))


class Upcast(LlamaForCausalLM):
    """Keeps its head in a wider type."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.model.to(torch.bfloat16)  # pyright: ignore[reportArgumentType]
        self.lm_head.register_forward_pre_hook(lambda _layer, args: (args[0].float(),))


class Twice(LlamaForCausalLM):
    """Has a second look at its own logits."""

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        first: Any = super().forward(*args, **kwargs)
        first.logits = first.logits + self.lm_head(first.logits @ self.lm_head.weight)
        return first


class ByHand(LlamaForCausalLM):
    """Reads the head's weight and does not call the head."""

    def forward(self, input_ids: Tensor, **kwargs: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        hidden: Any = self.model(input_ids=input_ids).last_hidden_state
        return CausalLMOutputWithPast(logits=hidden @ self.lm_head.weight.T)


UNKNOWN = [Sharpened, Biased, Stretched, Masked, Shrunk, Twice, ByHand]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_is_not_known_is_left_to_the_model(kind: type[LlamaForCausalLM], dtype: torch.dtype) -> None:
    model: Any = kind(tiny_llama(initializer_range=0.3).config).eval()
    assert find_head(model.to(dtype)) is None


def test_a_head_of_another_type_than_the_states_is_left_to_the_model() -> None:
    assert find_head(Upcast(tiny_llama(initializer_range=0.3).config).eval()) is None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("scaling", [1.01, 1.03, 0.98])
def test_a_scale_is_not_taken_for_its_inverse(scaling: float, dtype: torch.dtype) -> None:
    model: Any = tiny("granite", logits_scaling=scaling)
    head = find_head(model.to(dtype))
    assert isinstance(head, FusedHead)
    assert head.transform == LogitTransform(scale=1 / scaling)


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [("llama", {"tie_word_embeddings": True}), ("phi", {}), ("gemma2", {"final_logit_softcapping": 2.0})],
)
def test_small_problems_take_whole_logits(
    model_type: str, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    scored = sum(len(p.prompt) - 1 + len(p.chosen) + len(p.rejected) for p in PAIRS)
    monkeypatch.setattr(head_module, "SMALL_OUTPUTS", 64 * scored)
    with monkeypatch.context() as patch:
        patch.setattr(head_module, "target_log_probs", None)  # not called
        assert_like_whole_logits(tiny(model_type, **settings))
    monkeypatch.setattr(head_module, "SMALL_OUTPUTS", 64 * scored - 1)
    monkeypatch.setattr(head_module, "logits_log_probs", None)
    assert_like_whole_logits(tiny(model_type, **settings))


def test_a_small_part_adds_to_the_gradient_that_it_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(head_module, "SMALL_OUTPUTS", 2**18)
    head = FusedHead(nn.Linear(8, 64, bias=False), LogitTransform())
    weight, total = head.layer.weight, GradientSum()
    states, targets = torch.randn(5, 8), torch.arange(5)
    for part in (slice(0, 2), slice(2, 5)):
        head.log_probs(states[part], weight, None, targets[part], total).sum().backward()
    assert weight.grad is None
    head(states, targets).sum().backward()
    torch.testing.assert_close(total.total, weight.grad)


def test_looking_for_the_head_leaves_no_trace() -> None:
    model = tiny_llama(initializer_range=0.3)
    ids = torch.tensor([[5, 6, 7]])
    before = model(input_ids=ids).logits
    find_head(model)
    assert not model.lm_head._forward_hooks
    assert torch.equal(model(input_ids=ids).logits, before)
    assert all(p.grad is None for p in model.parameters())


# Heads that are more than a linear layer


def adapted(**settings: Any) -> PeftModel:
    """Adapters on the head, with random values, beside some on the attention."""
    model = tiny_llama(initializer_range=0.3).double()
    peft: Any = get_peft_model(model, LoraConfig(task_type="CAUSAL_LM", r=2, **settings))
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter.add_(0.3 * torch.randn_like(parameter))
    return peft


@pytest.mark.parametrize("chunks", [1, 100], ids=["one chunk", "a chunk per row"])
@pytest.mark.parametrize(
    "settings",
    [
        {"target_modules": ["q_proj", "lm_head"]},
        {"target_modules": ["q_proj"], "modules_to_save": ["lm_head"]},
    ],
    ids=["adapters", "modules_to_save"],
)
def test_a_changed_head_goes_through_its_own_forward_pass(
    settings: dict[str, Any], chunks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if chunks > 1:
        monkeypatch.setattr(head_module, "CHUNK_BYTES", {"cpu": 1})
        monkeypatch.setattr(head_module, "MIN_ROWS", 1)
    model = adapted(**settings)
    assert isinstance(find_head(unwrapped(model)), ModuleHead)
    assert_like_whole_logits(model)
    gradients = sums_and_gradients(model, find_head(unwrapped(model)))[1]
    assert [name for name in gradients if "lm_head" in name]
    assert all(gradient.norm() > 0 for gradient in gradients.values())


def test_adapters_elsewhere_leave_a_plain_frozen_head() -> None:
    model = add_lora(
        tiny_llama(initializer_range=0.3).double(), r=2, alpha=4, dropout=0.0, target="all-linear"
    )
    head = find_head(unwrapped(model))
    assert isinstance(head, FusedHead)
    assert not head.layer.weight.requires_grad
    assert_like_whole_logits(model)


def shift(_layer: nn.Module, _args: Any, output: Tensor) -> Tensor:
    return output + torch.linspace(0, 1, output.shape[-1], dtype=output.dtype)


@pytest.mark.parametrize("how", ["hook", "pre-hook", "forward", "parametrisation"])
def test_a_linear_layer_that_someone_has_changed_is_not_taken_apart(how: str) -> None:
    model = tiny_llama(initializer_range=0.3).double()
    layer = model.lm_head
    if how == "hook":
        layer.register_forward_hook(shift)
    elif how == "pre-hook":
        layer.register_forward_pre_hook(lambda _layer, args: (args[0].clone(),))
    elif how == "forward":
        plain = layer.forward
        layer.forward = lambda input: plain(input) * 2  # noqa: A006
    else:
        nn.utils.parametrizations.weight_norm(layer)
    head = find_head(model)
    assert isinstance(head, ModuleHead)
    assert_like_whole_logits(model)
