"""What is written loads in transformers and PEFT to the same logits."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, PreTrainedModel

from orpo.modeling.load import load_model
from orpo.modeling.lora import add_lora
from orpo.modeling.merge import merged_weights
from orpo.modeling.save import save_model
from orpo.modeling.scorer import unwrapped
from tests.tiny import save_tiny_model

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model: torch.nn.Module) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def adapted(folder: Path) -> PeftModel:
    """LoRA on the tiny model, moved away from its start so that it does something."""
    model = add_lora(load_model(str(folder)).model, r=2, alpha=4, dropout=0.0, target="all-linear")
    torch.manual_seed(1)
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


def save(model: PreTrainedModel | PeftModel, folder: Path, target: Path, *, merge: bool = False) -> None:
    tokenizer = AutoTokenizer.from_pretrained(folder)
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    save_model(model, tokenizer, target, merge=merge, stop_ids=(2, 7), card="# card\n")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base")


def test_a_full_model_loads_to_identical_logits_with_tokenizer_template_and_card(
    base: Path, tmp_path: Path
) -> None:
    model = load_model(str(base)).model
    save(model, base, tmp_path / "model")
    assert torch.equal(
        logits(AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)), logits(model)
    )
    assert AutoTokenizer.from_pretrained(tmp_path / "model").chat_template == "{{ messages[0]['content'] }}"
    assert (tmp_path / "model" / "README.md").read_text() == "# card\n"


def test_generation_stops_where_responses_end(base: Path, tmp_path: Path) -> None:
    save(load_model(str(base)).model, base, tmp_path / "model")
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    assert loaded.generation_config.eos_token_id == [2, 7]


def test_an_adapter_is_saved_as_peft_saves_it(base: Path, tmp_path: Path) -> None:
    model = adapted(base)
    save(model, base, tmp_path / "model")
    assert (tmp_path / "model" / "adapter_model.safetensors").exists()
    assert not (tmp_path / "model" / "model.safetensors").exists()
    again = PeftModel.from_pretrained(load_model(str(base)).model, tmp_path / "model")
    assert torch.equal(logits(again), logits(model))


def test_merged_weights_give_the_adapters_logits_and_leave_the_model_as_it_was(
    base: Path, tmp_path: Path
) -> None:
    model = adapted(base)
    before = {name: p.clone() for name, p in model.named_parameters()}
    save(model, base, tmp_path / "model", merge=True)
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    torch.testing.assert_close(logits(merged), logits(model), rtol=1e-5, atol=1e-5)
    assert not torch.allclose(logits(merged), logits(load_model(str(base)).model), atol=1e-3)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name]), name


def test_dropout_that_was_off_in_training_is_in_the_configuration_of_merged_weights(
    base: Path, tmp_path: Path
) -> None:
    config = base / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"attention_dropout": 0.25}))
    model = adapted(base)
    save(model, base, tmp_path / "out", merge=True)
    assert unwrapped(model).config.attention_dropout == 0.0
    assert json.loads((tmp_path / "out" / "config.json").read_text())["attention_dropout"] == 0.25


def test_merged_weights_keep_the_type_of_the_base(base: Path) -> None:
    model = add_lora(
        load_model(str(base), dtype="bfloat16").model, r=2, alpha=4, dropout=0.0, target="all-linear"
    )
    assert {weight.dtype for weight in merged_weights(model).values()} == {torch.bfloat16}


def test_a_save_replaces_the_previous_model_and_leaves_nothing_beside_it(base: Path, tmp_path: Path) -> None:
    model = load_model(str(base)).model
    target = tmp_path / "run" / "model"
    target.mkdir(parents=True)
    (target / "stale").touch()
    save(model, base, target)
    assert not (target / "stale").exists()
    assert [p.name for p in target.parent.iterdir()] == ["model"]


def test_a_save_that_fails_leaves_the_previous_model(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(str(base)).model
    save(model, base, tmp_path / "model")

    def disk_full(*args: object, **kwargs: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(type(model), "save_pretrained", disk_full)
    with pytest.raises(OSError, match="no space"):
        save(model, base, tmp_path / "model")
    AutoModelForCausalLM.from_pretrained(tmp_path / "model")


def test_an_adapter_keeps_the_tokens_that_end_its_responses(base: Path, tmp_path: Path) -> None:
    save(adapted(base), base, tmp_path / "model")
    assert GenerationConfig.from_pretrained(tmp_path / "model").eos_token_id == [2, 7]
