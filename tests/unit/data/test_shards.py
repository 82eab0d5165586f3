"""Shards hold what is usable, and the rest is accounted for."""

from __future__ import annotations

import pytest

from orpo.data.holdout import prompt_key
from orpo.data.pairs import Message, RowCounts
from orpo.data.shards import SHARD_CHARACTERS, SHARD_SIZE, cut_into_shards, tokenize_examples, tokenize_shard
from orpo.data.templates import Template
from orpo.data.tokens import END_INSIDE, IDENTICAL, NO_PROMPT, PairTokenizer, Tokenized
from orpo.errors import DataError
from tests.conversations import pair
from tests.trap_tokenizers import byte_level


def tokenizer(max_length: int = 10_000) -> PairTokenizer:
    return PairTokenizer(byte_level(), Template("none", None), max_length=max_length)


def test_every_example_is_kept_or_dropped_with_a_reason() -> None:
    pairs = [
        pair("hi", where="a.jsonl:1"),
        pair("", where="a.jsonl:2"),
        pair("hi", "yes", "yes", where="a.jsonl:4"),
        pair("", where="a.jsonl:5"),
        pair("hi", " yes</s>yes", where="a.jsonl:6"),
    ]
    counts = RowCounts()
    made = tokenize_examples(pairs, tokenizer(), counts)
    assert [example.where for example in made] == ["a.jsonl:1", "a.jsonl:6"]
    assert made.stop_ids == (byte_level().eos_token_id,)
    assert (counts.read, counts.kept) == (5, 2)
    assert counts.dropped == {NO_PROMPT: 2, IDENTICAL: 1}
    assert counts.examples == {NO_PROMPT: "a.jsonl:2", IDENTICAL: "a.jsonl:4"}
    assert counts.notes == {END_INSIDE: 1}


def test_shards_change_nothing_but_the_progress() -> None:
    pairs = [pair(f"hi {i}", where=str(i)) for i in range(SHARD_SIZE + 5)]
    tokenize = tokenizer()
    steps: list[int] = []
    made = tokenize_examples(iter(pairs), tokenize, RowCounts(), steps.append)
    assert steps == [SHARD_SIZE, 5]
    assert list(made) == [outcome.pair for outcome in tokenize(pairs) if isinstance(outcome, Tokenized)]
    assert len(made) == len(pairs)


def test_a_shard_is_full_of_examples_or_of_characters() -> None:
    half = "x" * (SHARD_CHARACTERS // 2)
    examples = [
        pair("", half, ""),
        pair((Message("user", half),), "", ""),
        pair("hi"),
        pair(half, half, half),
    ]
    sizes = [len(shard) for shard in cut_into_shards([*examples, *[pair("hi")] * (SHARD_SIZE + 1)])]
    assert sizes == [2, 2, SHARD_SIZE, 1]
    assert list(cut_into_shards(iter(examples))) == [examples[:2], examples[2:]]
    assert list(cut_into_shards([])) == []


def test_no_pair_left_is_an_error_with_the_reasons() -> None:
    counts = RowCounts()
    tokenize = tokenizer(max_length=1)
    with pytest.raises(DataError, match=r"none of 2 pairs .*no room for a response: 2 \(first: a\.jsonl:1\)"):
        tokenize_examples([pair("hi"), pair("hello")], tokenize, counts)


def test_no_pairs_given_is_no_error() -> None:
    assert len(tokenize_examples([], tokenizer(), RowCounts())) == 0


def test_examples_keep_what_tells_their_prompts_apart() -> None:
    made = tokenize_shard([pair("hi"), pair(""), pair("hello"), pair("hi", " other")], tokenizer())
    assert made.shard.prompt_keys == [prompt_key(prompt) for prompt in ("hi", "hello", "hi")]
