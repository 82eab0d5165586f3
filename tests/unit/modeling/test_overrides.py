"""A setting has one value in memory and another in what is saved, in copies of the model too."""

from __future__ import annotations

import copy
import json
from pathlib import Path

import pytest

from orpo.modeling.overrides import override, own_settings
from tests.tiny import tiny_llama


def test_what_is_saved_has_the_models_own_value(tmp_path: Path) -> None:
    model = tiny_llama()
    model.config.attention_dropout = 0.3
    override(model, model.config, "attention_dropout", 0.0)
    assert model.config.attention_dropout == 0.0
    copied = copy.deepcopy(model)
    for one in (model, copied):
        with own_settings(one):
            assert one.config.attention_dropout == 0.3
            one.save_pretrained(tmp_path)
        assert one.config.attention_dropout == 0.0
        assert json.loads((tmp_path / "config.json").read_text())["attention_dropout"] == 0.3


def test_a_save_that_fails_leaves_the_value_in_memory() -> None:
    model = tiny_llama()
    override(model, model.config, "attention_dropout", 0.5)
    with pytest.raises(OSError, match="full"), own_settings(model):
        raise OSError("full")
    assert model.config.attention_dropout == 0.5


def test_a_model_without_any_is_left_alone() -> None:
    model = tiny_llama()
    before = model.config.to_dict()
    with own_settings(model):
        assert model.config.to_dict() == before
