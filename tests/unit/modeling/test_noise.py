"""What is random in training is set to 0 wherever a model reads it from, and what is left is said."""

from __future__ import annotations

import logging
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BltConfig, BltForCausalLM, PreTrainedModel

from orpo.modeling.kinds import LANGUAGE_MODEL
from orpo.modeling.noise import silence, warn_if_random
from tests.families import zoo
from tests.tiny import tiny_llama

IDS = torch.arange(3, 20)[None]

PART: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 4,
    "vocab_size": 300,
    "dropout": 0.3,
}


def tiny_blt() -> BltForCausalLM:
    """Bytes in patches: four configurations in one, each with its dropout."""
    torch.manual_seed(0)
    local = PART | {"cross_attn_k": 1, "hidden_size_global": 32}
    config = BltConfig(
        vocab_size=300,
        encoder_hash_byte_group_size=[2],
        encoder_hash_byte_group_vocab=50,
        cross_attn_k=1,
        patcher_config=PART,
        encoder_config=local,
        decoder_config=local,
        global_config=PART,
    )
    return BltForCausalLM(config).eval()


def in_training(model: PreTrainedModel, seed: int) -> Tensor:
    torch.manual_seed(seed)
    with torch.no_grad():
        return model.train()(input_ids=IDS, use_cache=False).logits


def test_dropout_of_the_parts_of_a_model_is_set_to_zero() -> None:
    model = tiny_blt()
    assert not torch.equal(in_training(model, 0), in_training(model, 1))
    silence(model.eval(), LANGUAGE_MODEL.outputs)
    assert torch.equal(in_training(model, 0), in_training(model, 1))


@pytest.mark.parametrize("name", ["mixtral", "minimax_m2"])
def test_a_jitter_of_training_alone_is_set_to_zero(name: str, caplog: pytest.LogCaptureFixture) -> None:
    family = zoo.SHARED[name]
    model = zoo.Family(family.model_type, family.settings | {"router_jitter_noise": 0.3}).build()
    assert not torch.equal(in_training(model, 0), in_training(model, 1))
    with caplog.at_level(logging.INFO, logger="orpo"):
        silence(model.eval(), LANGUAGE_MODEL.outputs)
    assert torch.equal(in_training(model, 0), in_training(model, 1))
    assert "jitter_noise=0.3" in caplog.text
    assert "stays" not in caplog.text


def test_a_models_own_values_are_kept_where_evaluation_needs_them() -> None:
    model = zoo.PADDED["phimoe"][0].build()
    before = {key: value for module in model.modules() for key, value in vars(module).items()}
    silence(model, LANGUAGE_MODEL.outputs)
    after = {key: value for module in model.modules() for key, value in vars(module).items()}
    assert before["router_jitter_noise"] == after["router_jitter_noise"] == 0.01
    assert model.config.router_jitter_noise == 0.01


def noisy(model: PreTrainedModel, **inputs: Any) -> Tensor:
    logits = LANGUAGE_MODEL.outputs(model, **inputs)
    return nn.functional.dropout(logits, 0.5, model.training)


def test_what_is_random_all_the_same_is_said_without_drawing_from_the_runs_generator(
    caplog: pytest.LogCaptureFixture,
) -> None:
    model = tiny_llama().eval()
    state = torch.get_rng_state()
    warn_if_random(model, "its name", LANGUAGE_MODEL.outputs)
    assert caplog.messages == []
    warn_if_random(model, "its name", noisy)
    assert [m for m in caplog.messages if m.startswith("its name is random in training")]
    assert torch.equal(torch.get_rng_state(), state)
    assert not model.training


def test_a_model_that_cannot_be_run_in_training_can_still_be_evaluated(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def failing(model: PreTrainedModel, **inputs: Any) -> Tensor:
        raise ValueError("not in training")

    model = tiny_llama().eval()
    warn_if_random(model, "its name", failing)
    assert caplog.messages == []
    assert not model.training
