"""What a model sees of later tokens shows in any type, whether it has a gradient or not."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import BertConfig, BertLMHeadModel, PreTrainedModel

from orpo.errors import ConfigError
from orpo.modeling.kinds import LANGUAGE_MODEL, REWARD_MODEL
from orpo.modeling.left_to_right import LENGTH, require_left_to_right
from tests.families import zoo
from tests.tiny import tiny_llama, tiny_reward_model

TYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


def tiny_bert(**settings: Any) -> BertLMHeadModel:
    torch.manual_seed(0)
    config = BertConfig(
        hidden_size=32, num_attention_heads=4, intermediate_size=48, num_hidden_layers=2, **settings
    )
    return BertLMHeadModel(config).eval()


def in_type(model: PreTrainedModel, dtype: torch.dtype) -> PreTrainedModel:
    return model.to(dtype)  # type: ignore[arg-type]


@TYPES
def test_an_encoder_is_refused_and_as_a_decoder_it_is_not(dtype: torch.dtype) -> None:
    with pytest.raises(ConfigError, match="a later token changes its name's earlier predictions"):
        require_left_to_right(in_type(tiny_bert(), dtype), "its name", LANGUAGE_MODEL.outputs)
    require_left_to_right(in_type(tiny_bert(is_decoder=True), dtype), "its name", LANGUAGE_MODEL.outputs)


@TYPES
@pytest.mark.parametrize("name", [*zoo.SHARED, *zoo.PADDED])
def test_no_family_that_reads_left_to_right_is_refused(name: str, dtype: torch.dtype) -> None:
    family = zoo.SHARED[name] if name in zoo.SHARED else zoo.PADDED[name][0]
    require_left_to_right(in_type(family.build(), dtype), name, LANGUAGE_MODEL.outputs)


@TYPES
def test_nor_is_a_reward_model(dtype: torch.dtype) -> None:
    require_left_to_right(in_type(tiny_reward_model().eval(), dtype), "its name", REWARD_MODEL.outputs)


def test_a_model_of_which_no_gradient_can_be_taken_is_judged_by_its_outputs() -> None:
    def without_gradient(model: PreTrainedModel, **inputs: Any) -> Tensor:
        with torch.no_grad():
            return LANGUAGE_MODEL.outputs(model, **inputs)

    require_left_to_right(tiny_llama().eval(), "its name", without_gradient)
    with pytest.raises(ConfigError, match="reads left to right"):
        require_left_to_right(tiny_bert(), "its name", without_gradient)


def test_what_later_tokens_choose_without_a_gradient_shows_in_the_outputs() -> None:
    def scaled_by_last(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
        return LANGUAGE_MODEL.outputs(model, input_ids=input_ids) * (1 + input_ids[:, -1, None, None])

    with pytest.raises(ConfigError, match="reads left to right"):
        require_left_to_right(tiny_llama().eval(), "its name", scaled_by_last)


def test_it_asks_every_token_about_the_next() -> None:
    def with_next_of(place: int) -> Any:
        def outputs(model: PreTrainedModel, input_ids: Tensor) -> Tensor:
            made = LANGUAGE_MODEL.outputs(model, input_ids=input_ids)
            peeked = torch.zeros_like(made)
            peeked[:, place] = 1e-6 * made[:, place + 1]
            return made + peeked

        return outputs

    for place in range(LENGTH - 1):
        with pytest.raises(ConfigError, match="reads left to right"):
            require_left_to_right(tiny_llama().eval().bfloat16(), "its name", with_next_of(place))
