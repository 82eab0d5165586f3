"""Asking tokenizers about their special tokens."""

from __future__ import annotations

import pytest

from orpo.data.specials import added_prefix, added_tokens, eos_id
from tests.trap_tokenizers import byte_level, space_prefix


@pytest.mark.parametrize("adds_eos", [False, True])
def test_the_prefix_is_what_the_encoding_adds_before_a_text_and_not_after_it(adds_eos: bool) -> None:
    tokenizer = byte_level(bos="<s>", adds_bos=True, adds_eos=adds_eos)
    assert added_prefix(tokenizer) == (tokenizer.bos_token_id,)


def test_a_bos_token_that_the_encoding_does_not_add_is_no_prefix() -> None:
    assert added_prefix(byte_level(bos="<s>")) == ()


def test_an_appended_eos_is_no_prefix() -> None:
    assert added_prefix(byte_level(adds_eos=True)) == ()


def test_the_prefix_is_found_where_the_encoding_also_adds_a_space() -> None:
    tokenizer = space_prefix()
    assert added_prefix(tokenizer) == (tokenizer.bos_token_id,)


def test_white_space_ends_nothing_and_an_unflagged_token_does() -> None:
    tokenizer = byte_level(bos="<s>", special=("<|im_end|>",))
    tokenizer.add_tokens(["\n\n", "<|eot|>"])
    assert set(added_tokens(tokenizer)) == {"<s>", "</s>", "<|im_end|>", "<|eot|>"}
    assert added_tokens(tokenizer)["</s>"] == eos_id(tokenizer)


def test_a_tokenizer_without_eos_says_so() -> None:
    tokenizer = byte_level(eos=None)
    assert eos_id(tokenizer) is None
    assert added_tokens(tokenizer) == {}
