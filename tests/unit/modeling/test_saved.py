"""A saved model is read back with all that it needs, and never from a pickle."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orpo.errors import CheckpointError
from orpo.modeling.kinds import LANGUAGE_MODEL, REWARD_MODEL
from orpo.modeling.load import load_model
from orpo.modeling.lora import add_lora
from orpo.modeling.padding import require_padding
from orpo.modeling.save import save_model
from orpo.modeling.saved import Base, load_saved
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_llama


def test_a_folder_without_a_model_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="run: the run has saved no model yet"):
        load_saved(tmp_path / "run" / "model", None, dtype="float32", kind=LANGUAGE_MODEL)


def test_adapters_without_their_weights_are_refused(tmp_path: Path) -> None:
    base = Base(str(save_tiny_model(tmp_path / "base")), None, None)
    (tmp_path / "adapter_model.bin").touch()
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        load_saved(tmp_path, base, dtype="float32", kind=LANGUAGE_MODEL)


@pytest.mark.filterwarnings("ignore:Setting `save_embedding_layers`")
def test_the_pad_token_that_training_has_added_has_its_place(tmp_path: Path) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = tokenizer.eos_token  # which ends responses, so that another one is added
    tiny_llama(vocab_size=len(tokenizer)).save_pretrained(tmp_path / "base")
    tokenizer.save_pretrained(tmp_path / "base")
    source = load_model(str(tmp_path / "base"), kind=REWARD_MODEL)
    require_padding(source.model, source.tokenizer, [2])
    torch.manual_seed(0)
    trained = add_lora(
        source.model, r=2, alpha=4, dropout=0, target="all-linear", modules_to_save=(), kind=REWARD_MODEL
    )
    save_model(trained, source.tokenizer, tmp_path / "model", merge=False, stop_ids=(2,), card="")
    base = Base(str(tmp_path / "base"), None, None)
    model, loaded = load_saved(tmp_path / "model", base, dtype="float32", kind=REWARD_MODEL)
    pad = loaded.pad_token_id
    assert isinstance(pad, int)
    assert pad == len(byte_tokenizer())
    rows = torch.tensor([[5, 6, 7, pad], [5, 6, 7, 8]])
    with torch.no_grad():
        found = model(input_ids=rows).logits
        alone = trained.eval()(input_ids=rows[:1, :3]).logits
    torch.testing.assert_close(found[:1], alone)
