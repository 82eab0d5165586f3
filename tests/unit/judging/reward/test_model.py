"""Any reward model is found and read as it was trained."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import processors
from transformers import BertConfig, BertForSequenceClassification

from orpo.data.rendering import Dropped
from orpo.errors import CheckpointError, ConfigError, NetworkError
from orpo.judging.reward.fitness import Standing, fitness_of
from orpo.judging.reward.model import Rewarded, open_reward_model
from orpo.run import train
from tests.reward import TEMPLATE, save_reward_model, values_by_transformers
from tests.rows import rows, write_rows
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_reward_model


def reward_run(folder: Path, **changes: Any) -> Path:
    """A reward model trained for two steps, with what its run says of it."""
    pairs = str(write_rows(folder / "pairs.jsonl", 16))
    config = {
        "model": str(save_tiny_model(folder / "base")),
        "data": {"train": pairs, "eval": pairs},
        "objective": {"name": "reward"},
        "training": {"batch_size": 8, "max_steps": 2, "learning_rate": 1e-2},
        "output": str(folder / "judge"),
    }
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(config[key], dict) else value
    return train(config).path


def value(name: Path, prompt: str, response: str) -> float:
    (found,) = open_reward_model(str(name))([(prompt, response)])
    assert isinstance(found, Rewarded)
    return found.value


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"data": {"template": "transcript"}},
        {"data": {"max_length": 12}},
        {"model": {"lora": {"r": 2}}},
    ],
    ids=["text", "template", "cut", "adapter"],
)
def test_a_run_s_model_is_as_right_as_its_run_says(tmp_path: Path, changes: dict[str, Any]) -> None:
    if "model" in changes:
        changes = {"model": {"name": str(tmp_path / "base"), **changes["model"]}}
    run = reward_run(tmp_path, **changes)
    recorded = fitness_of(open_reward_model(str(run)), None, lambda done: None)
    assert recorded.source == "the summary of the run judge"
    measured = fitness_of(open_reward_model(str(run / "model")), str(tmp_path / "pairs.jsonl"), print)
    assert measured.source == str(tmp_path / "pairs.jsonl")
    assert recorded.assessment is not None
    assert measured.assessment is not None
    assert measured.assessment.accuracy == recorded.assessment.accuracy
    assert measured.assessment.by_length == recorded.assessment.by_length
    assert measured.assessment.calibration is not None
    assert recorded.assessment.calibration is not None
    assert measured.assessment.calibration.brier == pytest.approx(
        recorded.assessment.calibration.brier, rel=1e-5
    )


def test_another_model_is_read_as_its_template_writes(tmp_path: Path) -> None:
    folder = save_reward_model(tmp_path / "model", template=TEMPLATE)
    (expected,) = values_by_transformers(folder, ["user: a?</s>\nassistant: b</s>\n"])
    assert value(folder, "a?", "b") == pytest.approx(expected, rel=1e-5)


def test_an_encoder_reads_prompt_and_response_as_two_texts(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.add_special_tokens({"sep_token": "</s>", "cls_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        initializer_range=0.2,
    )
    config.num_labels = 1
    model = BertForSequenceClassification(config).eval()
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    both = [("a?", "b"), ("a long prompt?", "c")]
    with torch.no_grad():
        expected = [model(**tokenizer(*one, return_tensors="pt")).logits.item() for one in both]
    found = open_reward_model(str(tmp_path))(both)
    assert [one.value for one in found if isinstance(one, Rewarded)] == pytest.approx(expected, abs=1e-5)


def test_without_a_pad_token_the_last_token_is_valued(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    model = tiny_reward_model(vocab_size=len(tokenizer))
    model.config.pad_token_id = None
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    expected = values_by_transformers(tmp_path, ["a? b</s>", "a? longer</s>"])
    found = open_reward_model(str(tmp_path))([("a?", " b"), ("a?", " longer")])
    assert [one.value for one in found if isinstance(one, Rewarded)] == pytest.approx(expected, abs=1e-5)


def test_a_response_without_a_value_keeps_its_place(tmp_path: Path) -> None:
    model = open_reward_model(str(save_reward_model(tmp_path / "model", positions=16)))
    both = [("a?", " b"), ("a prompt without any room", " b"), ("a?", " c")]
    first, crowded, last = model(both)
    assert isinstance(crowded, Dropped)
    assert isinstance(first, Rewarded)
    assert isinstance(last, Rewarded)
    assert last.value != pytest.approx(first.value)
    assert last.value == pytest.approx(value(tmp_path / "model", "a?", " c"), rel=1e-4)


def test_what_is_no_reward_model_is_refused(tmp_path: Path) -> None:
    language_model = save_tiny_model(tmp_path / "lm")
    with pytest.raises(ConfigError, match=r"expected a reward model, but .*lm is LlamaForCausalLM"):
        open_reward_model(str(language_model))
    folder = save_reward_model(tmp_path / "model")
    config = json.loads((folder / "config.json").read_text())
    config |= {"id2label": {"0": "a", "1": "b"}, "label2id": {"a": 0, "b": 1}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"with one label, but .*model is a classifier of 2"):
        open_reward_model(str(folder))
    with pytest.raises(ConfigError, match="no such folder"):
        open_reward_model(str(tmp_path / "nothing"))
    with pytest.raises(NetworkError):
        open_reward_model("owner/none-of-this-name")


def test_a_run_without_a_judge_is_refused(tmp_path: Path) -> None:
    run = train(
        {
            "model": str(save_tiny_model(tmp_path / "base")),
            "data": {"train": "rows"},
            "training": {"batch_size": 8, "max_steps": 1},
            "output": str(tmp_path / "run"),
        },
        train_rows=rows(8),
    ).path
    with pytest.raises(ConfigError, match=r"has trained a language model with objective.name: orpo"):
        open_reward_model(str(run))


def test_a_run_that_has_no_model_yet_is_refused(tmp_path: Path) -> None:
    run = reward_run(tmp_path)
    (run / "model").rename(run / "gone")
    with pytest.raises(CheckpointError, match="the run has saved no model yet"):
        open_reward_model(str(run))


def test_a_run_without_held_out_pairs_says_nothing_of_its_model(tmp_path: Path) -> None:
    run = reward_run(tmp_path, data={"eval": None})
    assert fitness_of(open_reward_model(str(run)), None, lambda done: None).standing is Standing.UNKNOWN
