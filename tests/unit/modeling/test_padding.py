"""A reward model's pad token ends no response."""

from __future__ import annotations

import pytest

from orpo.modeling.padding import ADDED, padding_id, require_padding
from tests.tiny import byte_tokenizer, tiny_reward_model


def test_without_a_pad_token_any_id_fills_rows() -> None:
    tokenizer = byte_tokenizer()
    assert padding_id(tokenizer) == 0
    tokenizer.pad_token = None
    assert padding_id(tokenizer) == 0


def test_a_pad_token_of_its_own_is_kept() -> None:
    tokenizer, model = byte_tokenizer(), tiny_reward_model()
    model.config.pad_token_id = None
    require_padding(model, tokenizer, {2})
    assert (tokenizer.pad_token, model.config.pad_token_id) == ("<pad>", 0)


@pytest.mark.parametrize("pad_token", ["</s>", None])
def test_one_that_ends_responses_is_replaced(pad_token: str | None, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer, model = byte_tokenizer(), tiny_reward_model()
    model.resize_token_embeddings(len(tokenizer))
    tokenizer.pad_token = pad_token
    with caplog.at_level("INFO", logger="orpo"):
        require_padding(model, tokenizer, {2})
    assert ADDED in caplog.text
    assert tokenizer.pad_token_id == model.config.pad_token_id == len(tokenizer) - 1
    assert len(model.get_parameter("model.embed_tokens.weight")) == len(tokenizer)


def test_spare_rows_of_the_embeddings_are_used() -> None:
    tokenizer, model = byte_tokenizer(), tiny_reward_model()
    model.resize_token_embeddings(len(tokenizer) + 9)
    tokenizer.pad_token = None
    require_padding(model, tokenizer, {2})
    assert len(model.get_parameter("model.embed_tokens.weight")) == len(tokenizer) + 8
