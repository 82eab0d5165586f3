"""A model loads whole or is refused with the reason."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    BertConfig,
    BertForMaskedLM,
    LlamaForSequenceClassification,
    OPTConfig,
    OPTForCausalLM,
    T5Config,
    T5ForConditionalGeneration,
)

from orpo.errors import ConfigError, NetworkError
from orpo.modeling.load import load_model, load_tokenizer, load_without_weights
from orpo.modeling.save import save_model
from tests.families import zoo
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_llama


def test_a_folder_loads_in_the_asked_type(tmp_path: Path) -> None:
    loaded = load_model(str(save_tiny_model(tmp_path / "m")), dtype="bfloat16")
    assert next(loaded.model.parameters()).dtype == torch.bfloat16
    assert loaded.max_positions == 128
    assert loaded.commit is None


def test_tokenizer_and_positions_load_without_weights(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    (folder / "model.safetensors").unlink()
    loaded = load_without_weights(str(folder))
    assert loaded.max_positions == 128
    assert loaded.tokenizer.eos_token == "</s>"


def test_random_init_keeps_the_shape_and_not_the_weights(tmp_path: Path) -> None:
    folder = str(save_tiny_model(tmp_path / "m"))
    trained, fresh = load_model(folder), load_model(folder, random_init=True)
    assert {n: p.shape for n, p in trained.model.named_parameters()} == {
        n: p.shape for n, p in fresh.model.named_parameters()
    }
    a, b = (dict(m.model.named_parameters())["lm_head.weight"] for m in (trained, fresh))
    assert not torch.equal(a, b)


def test_a_missing_folder_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no such folder: \./nowhere"):
        load_tokenizer("./nowhere")


def test_a_hub_id_without_a_network_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(NetworkError, match="someone/no-such-model"):
        load_tokenizer("someone/no-such-model")


@pytest.mark.parametrize("kind", ["masked", "encoder-decoder", "classifier"])
def test_models_that_do_not_predict_the_next_token_are_refused(kind: str, tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    if kind == "masked":
        config = BertConfig(
            hidden_size=8, num_attention_heads=2, intermediate_size=8, vocab_size=300, num_hidden_layers=1
        )
        BertForMaskedLM(config).save_pretrained(tmp_path)
    elif kind == "encoder-decoder":
        T5ForConditionalGeneration(
            T5Config(vocab_size=300, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
        ).save_pretrained(tmp_path)
    else:
        LlamaForSequenceClassification(tiny_llama().config).save_pretrained(tmp_path)
    for load in (load_model, load_without_weights):
        with pytest.raises(ConfigError, match="expected a causal language model"):
            load(str(tmp_path))


def test_missing_weights_are_named_and_never_filled_in(tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    file = folder / "model.safetensors"
    weights = load_file(file)
    del weights["model.layers.1.mlp.up_proj.weight"]
    save_file(weights, file, metadata={"format": "pt"})
    with pytest.raises(ConfigError, match=r"lacks weights.*layers\.1\.mlp\.up_proj"):
        load_model(str(folder))


def test_a_tokenizer_with_more_tokens_than_embeddings_is_refused(tmp_path: Path) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    tiny_llama(vocab_size=100).save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match="259 tokens, but the model embeds only 100"):
        load_model(str(tmp_path))


def test_all_dropout_is_set_to_zero_and_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    byte_tokenizer().save_pretrained(tmp_path)
    config = OPTConfig(
        vocab_size=300,
        hidden_size=16,
        ffn_dim=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        word_embed_proj_dim=16,
        dropout=0.1,
        attention_dropout=0.2,
        layerdrop=0.3,
    )
    OPTForCausalLM(config).save_pretrained(tmp_path)
    with caplog.at_level(logging.INFO, logger="orpo"):
        model = load_model(str(tmp_path)).model.train()
    assert all(m.p == 0 for m in model.modules() if isinstance(m, nn.Dropout))
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    assert "dropout=0.1" in caplog.text
    assert "layerdrop=0.3" in caplog.text


@pytest.mark.parametrize("name", ["falcon", "persimmon"])
def test_dropout_that_a_model_reads_from_its_configuration_is_too_and_is_saved_as_it_was(
    name: str, tmp_path: Path
) -> None:
    model_type, settings = FROM_CONFIGURATION[name]
    folder = save_family(tmp_path / "m", model_type, **settings, hidden_dropout=0.2, attention_dropout=0.4)
    source = load_model(str(folder))
    model = source.model.train()
    ids = torch.tensor([[5, 6, 7, 8]])
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)
    save_model(model, source.tokenizer, tmp_path / "saved", merge=False, stop_ids=(), card="")
    found = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert (found["hidden_dropout"], found["attention_dropout"]) == (0.2, 0.4)
    assert torch.equal(model(input_ids=ids).logits, model(input_ids=ids).logits)


FROM_CONFIGURATION: dict[str, tuple[str, dict[str, Any]]] = {
    "falcon": ("falcon", zoo.FALCON | {"parallel_attn": False}),
    "persimmon": ("persimmon", zoo.COMMON),
}


def save_family(folder: Path, model_type: str, **settings: Any) -> Path:
    """A random model of any family, with the byte tokenizer."""
    torch.manual_seed(0)
    byte_tokenizer().save_pretrained(folder)
    config = AutoConfig.for_model(model_type, **settings | {"vocab_size": 300})
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)
    return folder


def test_a_jitter_that_evaluation_computes_with_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PhiMoE's is the threshold below the best expert up to which others count."""
    jitters = {"router_jitter_noise": 0.2, "input_jitter_noise": 0.1}
    folder = save_family(tmp_path / "m", "phimoe", **zoo.COMMON, num_local_experts=8, **jitters)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    ids = torch.arange(3, 300)[None, ::7]
    with caplog.at_level(logging.INFO, logger="orpo"), torch.no_grad():
        model = load_model(str(folder)).model
        assert torch.equal(model(input_ids=ids).logits, plain(input_ids=ids).logits)
    assert "dropout set to 0 for training: input_jitter_noise=0.1" in caplog.messages
    assert any(m.startswith("router_jitter_noise=0.2 stays, since evaluation") for m in caplog.messages)
    assert any(m.startswith(f"{folder} is random in training") for m in caplog.messages)


def test_evaluating_rwkv_does_not_change_what_is_saved(tmp_path: Path) -> None:
    """transformers divides its weights for that, every few layers, unless it is kept from it."""
    settings = zoo.COMMON | {"attention_hidden_size": 32, "num_hidden_layers": 4, "rescale_every": 2}
    source = load_model(str(save_family(tmp_path / "m", "rwkv", **settings)))
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        trained = source.model.train()(input_ids=ids).logits
        evaluated = source.model.eval()(input_ids=ids).logits
    save_model(source.model, source.tokenizer, tmp_path / "saved", merge=False, stop_ids=(), card="")
    elsewhere = AutoModelForCausalLM.from_pretrained(tmp_path / "saved", dtype=torch.float32).eval()
    assert elsewhere.config.rescale_every == 2
    with torch.no_grad():
        assert torch.equal(evaluated, trained)
        assert torch.equal(load_model(str(tmp_path / "saved")).model(input_ids=ids).logits, trained)
        # Layer norms of what it divides add their constant to less.
        torch.testing.assert_close(elsewhere(input_ids=ids).logits, trained, rtol=0, atol=1e-3)


def test_code_from_a_repository_is_never_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = save_tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "evil", "auto_map": {"AutoConfig": "evil.EvilConfig"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "evil.py").write_text("raise SystemExit('the code ran')\n")
    monkeypatch.setattr("builtins.input", lambda *_: "y")
    with pytest.raises(ConfigError, match="never run"):
        load_model(str(folder))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_decoder_that_sees_later_tokens_is_refused(dtype: str, tmp_path: Path) -> None:
    folder = save_family(
        tmp_path, "bert", hidden_size=64, num_attention_heads=4, intermediate_size=128, num_hidden_layers=4
    )
    with pytest.raises(ConfigError, match="reads left to right"):
        load_model(str(folder), dtype=dtype)


@pytest.mark.parametrize("damage", ["shape", "type", "tokenizer"])
def test_a_damaged_folder_is_one_message(damage: str, tmp_path: Path) -> None:
    folder = save_tiny_model(tmp_path / "m")
    config = json.loads((folder / "config.json").read_text())
    if damage == "shape":
        (folder / "config.json").write_text(json.dumps(config | {"intermediate_size": 32}))
    elif damage == "type":
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": "wide"}))
    else:
        (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(ConfigError, match="cannot be loaded"):
        load_model(str(folder))


def test_a_home_folder_may_be_written_with_a_tilde(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_tiny_model(tmp_path / "m")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load_model("~/m").max_positions == 128
