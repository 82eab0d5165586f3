from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerBase

from orpo.data.pairs import Pair
from orpo.data.rendering import Renderer
from orpo.data.templates import resolve_template
from orpo.data.tokens import PairTokenizer
from orpo.doctor.tokens import (
    Outcome,
    double_bos,
    dropped_as_tokens,
    ends_within,
    system_swallowed,
    template_faults,
    token_lengths,
    tokenize_each,
    unclosed,
    usable,
)
from tests.conversations import chat, pair
from tests.trap_tokenizers import CHATML_LIKE, GEMMA_LIKE, LLAMA_LIKE, UNCLOSED, UNSTABLE, byte_level

NO_SYSTEM = CHATML_LIKE.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'system' %}")
UNSTABLE_AFTER_SYSTEM = (
    "{% if messages[0]['role'] == 'system' %}" + UNSTABLE + "{% else %}" + CHATML_LIKE + "{% endif %}"
)
TWO_BOS = "{{ bos_token + bos_token }}" + CHATML_LIKE


def chatml(template: str = CHATML_LIKE, *, bos: str | None = None) -> PreTrainedTokenizerBase:
    return byte_level(bos=bos, special=("<|im_start|>", "<|im_end|>"), template=template)


def outcomes_of(tokenizer: PreTrainedTokenizerBase, pairs: list[Pair]) -> list[Outcome]:
    template = resolve_template(tokenizer, "auto", (p.prompt for p in pairs))
    return tokenize_each(pairs, PairTokenizer(tokenizer, template, max_length=10**9))


GOOD = [pair(chat("Q", system="Be brief."), "yes", "no", "f:1"), pair(chat("Q"), "yes", "no", "f:2")]


def test_good_pairs_have_no_findings() -> None:
    tokenizer = chatml(bos="<s>")
    outcomes = outcomes_of(tokenizer, GOOD)
    template = resolve_template(tokenizer, "auto", [GOOD[0].prompt])
    assert template_faults(GOOD, outcomes) == []
    assert dropped_as_tokens(GOOD, outcomes) == []
    assert system_swallowed(GOOD, outcomes) == []
    assert double_bos(GOOD, outcomes, tokenizer) == []
    assert ends_within(GOOD, outcomes) == []
    assert unclosed(GOOD, outcomes, Renderer(tokenizer, template), tokenizer) == []
    assert len(usable(outcomes)) == 2


def test_token_lengths_are_those_of_the_usable_pairs() -> None:
    outcomes = outcomes_of(byte_level(), [pair("ab", "cd", "e")])
    ((prompt, chosen, rejected),) = token_lengths(usable(outcomes)).tolist()
    assert (prompt, chosen, rejected) == (2, 3, 2)  # with EOS
    assert token_lengths([]).shape == (0, 3)


def test_every_pair_that_breaks_the_template_is_named_not_only_the_first() -> None:
    pairs = [*GOOD, pair(chat("R", system="S"), where="f:3")]
    outcomes = outcomes_of(chatml(UNSTABLE_AFTER_SYSTEM), pairs)
    hits = template_faults(pairs, outcomes)
    assert [hit.where for hit in hits] == ["f:1", "f:3"]
    assert "not prefix-stable" in hits[0].text
    assert [p.where for p in usable(outcomes)] == ["f:2"]


def test_pairs_that_the_template_refuses_are_named_with_the_reason() -> None:
    tokenizer = byte_level(bos="<s>", special=("<start>", "<end>"), template=GEMMA_LIKE)
    hits = dropped_as_tokens(GOOD, outcomes_of(tokenizer, GOOD))
    assert [(hit.where, hit.text) for hit in hits] == [
        ("f:1", "refused by the chat template: System role not supported")
    ]


def test_a_swallowed_system_turn_is_named_and_shown() -> None:
    hits = system_swallowed(GOOD, outcomes_of(chatml(NO_SYSTEM), GOOD))
    assert [(hit.where, hit.text) for hit in hits] == [("f:1", "Be brief.")]


def test_an_end_of_turn_within_a_response_is_found() -> None:
    pairs = [GOOD[0], pair(chat("Q"), "yes<|im_end|>\n<|im_start|>user\nmore", "no", "f:2")]
    assert [hit.where for hit in ends_within(pairs, outcomes_of(chatml(), pairs))] == ["f:2"]


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        (TWO_BOS, "Q"),
        ("{{ bos_token }}" + CHATML_LIKE, "<s>Q"),
    ],
    ids=["template writes it twice", "text spells it"],
)
def test_a_second_bos_is_found(template: str, prompt: str) -> None:
    tokenizer = chatml(template, bos="<s>")
    pairs = [pair(chat(prompt), where="f:1")]
    hits = double_bos(pairs, outcomes_of(tokenizer, pairs), tokenizer)
    assert [hit.where for hit in hits] == ["f:1"]


def test_a_plain_prompt_that_begins_with_bos_twice_is_found() -> None:
    tokenizer = byte_level(bos="<s>", adds_bos=True)
    pairs = [pair("Q", where="f:1"), pair("<s><s>Q", where="f:2")]
    hits = double_bos(pairs, outcomes_of(tokenizer, pairs), tokenizer)
    assert [hit.where for hit in hits] == ["f:2"]


def test_a_template_that_writes_bos_once_is_no_double_bos() -> None:
    tokenizer = byte_level(bos="<s>", adds_bos=True, template=LLAMA_LIKE)
    assert double_bos(GOOD, outcomes_of(tokenizer, GOOD), tokenizer) == []


def test_without_bos_there_is_none_too_many() -> None:
    tokenizer = chatml()
    assert double_bos(GOOD, outcomes_of(tokenizer, GOOD), tokenizer) == []


def test_a_template_without_end_of_turn_is_found_for_conversations_only() -> None:
    tokenizer = byte_level(template=UNCLOSED)
    pairs = [*GOOD, pair("plain", where="f:3")]
    outcomes = outcomes_of(tokenizer, pairs)
    template = resolve_template(tokenizer, "auto", (p.prompt for p in pairs))
    hits = unclosed(pairs, outcomes, Renderer(tokenizer, template), tokenizer)
    assert [hit.where for hit in hits] == ["f:1", "f:2"]


def test_more_pairs_than_one_batch_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orpo.doctor.tokens.SHARD_SIZE", 2)
    pairs = [pair("Q", f"yes {i}", "no", f"f:{i}") for i in range(5)]
    assert [p.where for p in usable(outcomes_of(byte_level(), pairs))] == [f"f:{i}" for i in range(5)]
