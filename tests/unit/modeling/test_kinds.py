"""A model is loaded as a language model or as a reward model, or it is said why it cannot be."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from transformers import (
    AutoModelForSequenceClassification,
    BertConfig,
    CohereConfig,
    LlamaConfig,
    LlamaForSequenceClassification,
    PretrainedConfig,
)

from orpo.errors import ConfigError
from orpo.modeling.kinds import LANGUAGE_MODEL, REWARD_MODEL
from orpo.modeling.load import load_model
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_reward_model

THREE_LABELS = LlamaConfig(architectures=["LlamaForSequenceClassification"])
THREE_LABELS.num_labels = 3


def test_a_reward_model_starts_from_a_language_model(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "m"))
    model = load_model(folder, kind=REWARD_MODEL).model
    assert isinstance(model, LlamaForSequenceClassification)
    base = load_model(folder).model.base_model.state_dict()
    found = model.base_model.state_dict()
    assert found.keys() == base.keys()
    assert all(torch.equal(found[name], base[name]) for name in base)
    assert model.score.weight.shape == (1, 32)


def test_a_reward_model_goes_on_as_one(tmp_path: Path) -> None:
    model, tokenizer = tiny_reward_model(), byte_tokenizer()
    model.resize_token_embeddings(len(tokenizer))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    again = load_model(str(tmp_path), kind=REWARD_MODEL).model
    assert torch.equal(again.get_parameter("score.weight"), model.score.weight)
    with pytest.raises(ConfigError, match=r"expected a causal.*LlamaForSequenceClassification"):
        load_model(str(tmp_path))


def test_a_reward_model_without_its_head_is_refused(tmp_path: Path) -> None:
    save_tiny_model(tmp_path)
    config = LlamaConfig.from_pretrained(tmp_path)
    config.architectures = ["LlamaForSequenceClassification"]
    config.num_labels = 1
    config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"lacks weights of its architecture: score\.weight"):
        load_model(str(tmp_path), kind=REWARD_MODEL)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        (THREE_LABELS, "a classifier of 3"),
        (
            BertConfig(architectures=["BertForSequenceClassification"]),
            "a classifier of 2",
        ),
        (CohereConfig(architectures=["CohereForCausalLM"]), "no sequence-classification model for it"),
    ],
)
def test_what_cannot_be_a_reward_model_is_refused(config: PretrainedConfig, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        REWARD_MODEL.require(config, "it")


def test_a_language_model_lacks_nothing() -> None:
    config = LlamaConfig(architectures=["LlamaForCausalLM"])
    assert not LANGUAGE_MODEL.may_lack("score.weight", config)
    assert REWARD_MODEL.may_lack("score.weight", config)
    assert not REWARD_MODEL.may_lack("model.norm.weight", config)


def test_transformers_reads_the_config_that_is_saved(tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny_model(tmp_path / "m")), kind=REWARD_MODEL)
    loaded.model.save_pretrained(tmp_path / "r")
    again = AutoModelForSequenceClassification.from_pretrained(tmp_path / "r")
    assert again.config.num_labels == 1
