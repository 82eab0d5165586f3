"""Token ids of pairs: BOS, boundary, end of turn, truncation, and the account of what is dropped."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from orpo.data.pairs import Pair, RowCounts, Single, TokenizedPair
from orpo.data.rendering import EMPTY_RESPONSE, Dropped, TemplateRefusalError
from orpo.data.shards import tokenize_examples
from orpo.data.templates import Prompt, resolve_template
from orpo.data.tokens import (
    CUT,
    END_INSIDE,
    IDENTICAL,
    IDENTICAL_CUT,
    MERGED,
    NO_PROMPT,
    NO_ROOM,
    TOO_LONG,
    PairTokenizer,
    Tokenized,
    Truncation,
    common_prefix,
)
from orpo.errors import ConfigError
from tests.conversations import chat, pair
from tests.paths import SHARED, needs_shared
from tests.trap_tokenizers import (
    CHATML_LIKE,
    GEMMA_LIKE,
    LLAMA_LIKE,
    THINKING,
    UNCLOSED,
    byte_level,
    space_prefix,
)

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", "<start>", "<end>")

TRAPS: dict[str, tuple[Callable[[], PreTrainedTokenizerBase], str]] = {
    "byte-level": (byte_level, ""),
    "BOS added": (lambda: byte_level(bos="<s>", adds_bos=True), "<s>"),
    "BOS not added": (lambda: byte_level(bos="<s>"), ""),
    "EOS added": (lambda: byte_level(adds_eos=True), ""),
    "BOS and EOS added": (lambda: byte_level(bos="<s>", adds_bos=True, adds_eos=True), "<s>"),
    "BOS is EOS": (lambda: byte_level(bos="</s>"), ""),
    "BOS is EOS and added": (lambda: byte_level(bos="</s>", adds_bos=True), "</s>"),
    "space prefix": (space_prefix, "<s>"),
    "space prefix, BOS not added": (lambda: space_prefix(adds_bos=False), ""),
    "Llama-like": (lambda: space_prefix(template=LLAMA_LIKE), "<s>"),
    "Qwen-like": (lambda: byte_level(special=CHAT_TOKENS, template=CHATML_LIKE), ""),
    "Gemma-like": (lambda: space_prefix(bos="<bos>", special=CHAT_TOKENS, template=GEMMA_LIKE), "<bos>"),
    "Gemma-like, BOS in the template only": (
        lambda: byte_level(bos="<bos>", special=CHAT_TOKENS, template=GEMMA_LIKE),
        "<bos>",
    ),
    "BOS in the encoding only": (
        lambda: byte_level(bos="<s>", adds_bos=True, special=CHAT_TOKENS, template=CHATML_LIKE),
        "<s>",
    ),
    "thinking": (lambda: byte_level(special=CHAT_TOKENS, template=THINKING), ""),
    "unclosed": (lambda: byte_level(template=UNCLOSED), ""),
}
"""Builders, with the one BOS that a conversation must start with."""


@functools.cache
def _trap(name: str) -> PreTrainedTokenizerBase:
    return TRAPS[name][0]()


def _pair_tokenizer(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    *,
    max_length: int = 10_000,
    truncation: Truncation = "cut",
    template: str = "auto",
) -> PairTokenizer:
    resolved = resolve_template(tokenizer, template, [prompt])
    return PairTokenizer(tokenizer, resolved, max_length=max_length, truncation=truncation)


def _tokenize(
    tokenizer: PreTrainedTokenizerBase,
    pair: Pair,
    *,
    max_length: int = 10_000,
    truncation: Truncation = "cut",
) -> Tokenized | Dropped:
    tokenize = _pair_tokenizer(tokenizer, pair.prompt, max_length=max_length, truncation=truncation)
    return tokenize([pair])[0]


def _tokenized(tokenizer: PreTrainedTokenizerBase, pair: Pair, *, max_length: int = 10_000) -> Tokenized:
    outcome = _tokenize(tokenizer, pair, max_length=max_length)
    assert isinstance(outcome, Tokenized), outcome
    return outcome


def _ids(tokenizer: PreTrainedTokenizerBase, text: str) -> tuple[int, ...]:
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])


def _text(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    text = tokenizer.decode(list(ids), clean_up_tokenization_spaces=False)
    assert isinstance(text, str)
    return text


def _naive_boundary(prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int]) -> int:
    """The definition, word by word."""
    agreeing = [k for k in range(len(prompt) + 1) if prompt[:k] == chosen[:k] == rejected[:k]]
    return max(agreeing)


# --- the boundary ---

few_ids = st.lists(st.integers(0, 2), max_size=6)


@given(few_ids, few_ids, few_ids)
def test_the_boundary_is_the_longest_agreement(
    prompt: list[int], chosen: list[int], rejected: list[int]
) -> None:
    assert common_prefix(prompt, chosen, rejected) == _naive_boundary(prompt, chosen, rejected)
    assert common_prefix(prompt, prompt + chosen, prompt + rejected) == len(prompt)


def test_responses_that_begin_alike_are_response_from_their_first_token() -> None:
    tokenizer = _trap("byte-level")
    made = _tokenized(tokenizer, pair("Q:", " the answer is yes", " the answer is no")).pair
    assert made.prompt == _ids(tokenizer, "Q:")
    assert made.chosen[:3] == made.rejected[:3]


def test_a_space_at_the_end_of_the_prompt_is_response_where_one_response_merges_with_it() -> None:
    tokenizer = _trap("byte-level")
    space = _ids(tokenizer, " ")
    assert len(_ids(tokenizer, " the")) == 1
    assert _ids(tokenizer, "and ?")[-2:-1] == space
    made = _tokenized(tokenizer, pair("and ", "the fox", "? yes"))
    assert made.pair.prompt == _ids(tokenizer, "and")
    assert made.pair.chosen[:1] == _ids(tokenizer, " the")
    assert made.pair.rejected[:1] == space
    assert made.notes == (MERGED,)


def test_a_prompt_that_no_response_merges_with_is_not_noted() -> None:
    assert _tokenized(_trap("byte-level"), pair("and", " the fox", "? yes")).notes == ()


def test_a_prompt_whose_only_token_merges_is_dropped_where_no_bos_is_left() -> None:
    assert _tokenize(_trap("byte-level"), pair(" ", "the fox", "? yes")) == Dropped(NO_PROMPT)
    bos = _trap("BOS added").bos_token_id
    assert _tokenized(_trap("BOS added"), pair(" ", "the fox", "? yes")).pair.prompt == (bos,)


# --- properties, over every trap ---

few_examples = settings(max_examples=40, deadline=None)
texts = st.text(st.characters(codec="utf-8", exclude_characters="▁"), max_size=20)


def _prompt_for(name: str, text: str) -> Prompt:
    return chat(text, "I see.", text) if _trap(name).chat_template is not None else text


@pytest.mark.parametrize("name", TRAPS)
@few_examples
@given(prompt=texts, chosen=texts, rejected=texts)
def test_tokens_hold_the_text_one_bos_and_one_end(name: str, prompt: str, chosen: str, rejected: str) -> None:
    assume(prompt.strip() and chosen.strip() and rejected.strip() and chosen.strip() != rejected.strip())
    tokenizer, bos = _trap(name), TRAPS[name][1]
    outcome = _tokenize(tokenizer, pair(_prompt_for(name, prompt), chosen, rejected))
    if outcome == Dropped(NO_PROMPT):
        assert not bos
        return
    assert isinstance(outcome, Tokenized)
    made = outcome.pair
    for response, content in ((made.chosen, chosen), (made.rejected, rejected)):
        text = _text(tokenizer, made.prompt + response)
        assert prompt.strip() in text
        assert content.strip() in text
        assert response[-1] == outcome.end
        assert outcome.end not in response[:-1]
        assert response[:-1]
        assert text.startswith(bos)
        if tokenizer.bos_token is not None:
            assert not text.removeprefix(bos).startswith(str(tokenizer.bos_token))


@pytest.mark.parametrize("name", [name for name in TRAPS if not TRAPS[name][0]().chat_template])
@few_examples
@given(prompt=texts, chosen=texts, rejected=texts)
def test_the_prompt_of_plain_text_is_the_naive_boundary(
    name: str, prompt: str, chosen: str, rejected: str
) -> None:
    tokenizer, bos = _trap(name), TRAPS[name][1]
    before = [tokenizer.get_vocab()[bos]] if bos else []
    encodings = [
        before + list(_ids(tokenizer, text)) for text in (prompt, prompt + chosen, prompt + rejected)
    ]
    size = _naive_boundary(*encodings)
    outcome = _tokenize(tokenizer, pair(prompt, chosen, rejected))
    if isinstance(outcome, Tokenized):
        ids = outcome.pair
        assert list(ids.prompt) == encodings[0][:size]
        assert [*ids.prompt, *ids.chosen] == [*encodings[1], tokenizer.eos_token_id]
        assert [*ids.prompt, *ids.rejected] == [*encodings[2], tokenizer.eos_token_id]
    else:
        bodies = [encoding[size:] for encoding in encodings[1:]]
        reasons = {
            NO_PROMPT: not size,
            EMPTY_RESPONSE: not chosen or not rejected,
            IDENTICAL: bodies[0] == bodies[1],
        }
        assert reasons[outcome.reason]


# --- BOS ---


@pytest.mark.parametrize("name", TRAPS)
def test_a_prompt_for_generation_is_the_prompt_of_training(name: str) -> None:
    prompt = _prompt_for(name, "hello")
    tokenize = _pair_tokenizer(_trap(name), prompt)
    (made,) = tokenize([pair(prompt, "\nyes", "\nno")])
    assert isinstance(made, Tokenized)
    assert tuple(tokenize.prompt_ids(prompt)) == made.pair.prompt


@pytest.mark.parametrize("adds_bos", [False, True])
@pytest.mark.parametrize("template", ["transcript", "chatml"])
def test_with_a_bundled_template_others_render_the_ids_of_training(template: str, adds_bos: bool) -> None:
    tokenizer = byte_level(bos="<s>", adds_bos=adds_bos, special=CHAT_TOKENS)
    tokenize = _pair_tokenizer(tokenizer, chat("hi"), template=template)
    turns = [{"role": "user", "content": "hi"}]
    elsewhere = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=False)
    assert tokenize.prompt_ids(chat("hi")) == elsewhere


def test_an_empty_prompt_is_its_bos_or_is_dropped() -> None:
    assert _tokenized(_trap("BOS added"), pair("")).pair.prompt == (_trap("BOS added").bos_token_id,)
    assert _tokenize(_trap("byte-level"), pair("")) == Dropped(NO_PROMPT)
    assert _tokenize(_trap("BOS not added"), pair("")) == Dropped(NO_PROMPT)


def test_a_bos_written_in_the_text_is_not_doubled() -> None:
    tokenizer = _trap("BOS added")
    assert _tokenized(tokenizer, pair("<s>hi")).pair.prompt == _tokenized(tokenizer, pair("hi")).pair.prompt


# --- the end of a response ---


@pytest.mark.parametrize(("name", "end"), [("byte-level", "</s>"), ("Qwen-like", "<|im_end|>")])
def test_an_end_that_the_response_brings_is_not_doubled(name: str, end: str) -> None:
    prompt = _prompt_for(name, "hi")
    brought = _tokenized(_trap(name), pair(prompt, "yes" + end, "no"))
    assert brought == _tokenized(_trap(name), pair(prompt, "yes", "no"))


def test_a_response_of_nothing_but_its_end_is_empty() -> None:
    assert _tokenize(_trap("byte-level"), pair("hi", "</s>", "no")) == Dropped(EMPTY_RESPONSE)
    assert _tokenize(_trap("byte-level"), pair("hi</s>", "", "no")) == Dropped(EMPTY_RESPONSE)


def test_an_empty_response_is_empty_although_the_other_one_merges_with_the_prompt() -> None:
    tokenizer = _trap("byte-level")
    assert _tokenized(tokenizer, pair("hi", "s", "t")).pair.prompt == _ids(tokenizer, "h")
    assert _tokenize(tokenizer, pair("hi", "", "t")) == Dropped(EMPTY_RESPONSE)
    assert _tokenize(tokenizer, pair("hi", "s", "</s>")) == Dropped(EMPTY_RESPONSE)


def test_an_end_inside_a_response_is_kept_and_noted() -> None:
    made = _tokenized(_trap("byte-level"), pair("hi", " yes</s>no", " no"))
    assert made.pair.chosen.count(made.end) == 2
    assert made.notes == (END_INSIDE,)


def test_plain_text_without_eos_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no EOS token"):
        _tokenize(byte_level(eos=None), pair("hi"))


def test_a_missing_pad_token_is_no_error() -> None:
    assert _trap("byte-level").pad_token is None
    assert isinstance(_tokenize(_trap("byte-level"), pair("hi")), Tokenized)


# --- max_length ---


@pytest.mark.parametrize("name", ["BOS added", "Qwen-like"])
def test_max_length_bounds_both_branches_and_a_cut_response_has_no_end(name: str) -> None:
    prompt = _prompt_for(name, "hi")
    whole = _tokenized(_trap(name), pair(prompt, "the quick brown fox", "dog"))
    size = len(whole.pair.prompt) + len(whole.pair.chosen)
    assert len(whole.pair.rejected) < len(whole.pair.chosen)

    assert _tokenized(_trap(name), pair(prompt, "the quick brown fox", "dog"), max_length=size) == whole
    cut = _tokenized(_trap(name), pair(prompt, "the quick brown fox", "dog"), max_length=size - 1)
    assert cut.notes == (CUT,)
    assert cut.pair == TokenizedPair(
        whole.pair.prompt, whole.pair.chosen[:-1], whole.pair.rejected, whole.pair.where
    )


def test_a_prompt_that_leaves_no_room_is_dropped_under_either_policy() -> None:
    tokenizer = _trap("byte-level")
    size = len(_ids(tokenizer, "hello"))
    assert _tokenize(tokenizer, pair("hello"), max_length=size) == Dropped(NO_ROOM)
    assert _tokenize(tokenizer, pair("hello"), max_length=size, truncation="drop") == Dropped(NO_ROOM)
    assert len(_tokenized(tokenizer, pair("hello", " the", " no"), max_length=size + 1).pair.chosen) == 1


@pytest.mark.parametrize("longer", ["chosen", "rejected"])
def test_the_drop_policy_drops_a_pair_with_one_long_branch(longer: str) -> None:
    responses = {"chosen": "yes", "rejected": "no", longer: "the quick brown fox"}
    too_long = pair("hi", responses["chosen"], responses["rejected"])
    tokenizer = _trap("byte-level")
    assert _tokenize(tokenizer, too_long, max_length=6, truncation="drop") == Dropped(TOO_LONG)
    assert isinstance(_tokenize(tokenizer, too_long, max_length=50, truncation="drop"), Tokenized)


def test_identical_responses_are_told_from_those_that_the_cut_made_identical() -> None:
    tokenizer = _trap("byte-level")
    assert _tokenize(tokenizer, pair("hi", " yes", " yes")) == Dropped(IDENTICAL)
    alike = pair("hi", " the fox", " the dog")
    size = len(_ids(tokenizer, "hi")) + 1
    assert _tokenize(tokenizer, alike, max_length=size) == Dropped(IDENTICAL_CUT)


def test_responses_that_only_trimming_makes_identical_are_dropped() -> None:
    assert _tokenize(_trap("Gemma-like"), pair(chat("hi"), "yes", " yes\n")) == Dropped(IDENTICAL)


def test_text_and_conversations_may_be_mixed() -> None:
    tokenizer = byte_level()
    prompts: list[Prompt] = ["hi", chat("hi")]
    tokenize = PairTokenizer(tokenizer, resolve_template(tokenizer, "auto", prompts), max_length=100)
    plain, transcript = (made for made in tokenize([pair(prompt) for prompt in prompts]))
    assert isinstance(plain, Tokenized)
    assert isinstance(transcript, Tokenized)
    assert _text(tokenizer, plain.pair.prompt) == "hi"
    assert _text(tokenizer, transcript.pair.prompt) == "\n\nHuman: hi\n\nAssistant:"


def test_a_single_response_takes_the_place_that_its_label_says() -> None:
    tokenizer = _trap("BOS added")
    for is_desirable in (True, False):
        single = Single("and", " the fox", is_desirable, "a.jsonl:1", weight=2.0)
        (outcome,) = _pair_tokenizer(tokenizer, "and")([single])
        assert isinstance(outcome, Tokenized)
        made, response = outcome.pair, (*_ids(tokenizer, " the fox"), outcome.end)
        assert made.prompt == (tokenizer.bos_token_id, *_ids(tokenizer, "and"))
        assert (made.chosen, made.rejected) == ((response, ()) if is_desirable else ((), response))
        assert (made.weight, made.where, outcome.notes) == (2.0, "a.jsonl:1", ())


@pytest.mark.parametrize("name", [name for name in TRAPS if _trap(name).chat_template is not None])
def test_earlier_answers_are_the_tokens_of_their_texts_and_their_end(name: str) -> None:
    tokenizer = _trap(name)
    prompt = chat("hi", "the fox", "and", "the lazy dog", "so")
    resolved = resolve_template(tokenizer, "auto", [prompt])
    tokenize = PairTokenizer(tokenizer, resolved, max_length=10_000, finds_answers=True)
    (outcome,) = tokenize([pair(prompt)])
    assert isinstance(outcome, Tokenized)
    made = outcome.pair
    answers = [made.prompt[start:end] for start, end in made.answers]
    assert len(answers) == 2
    closes = outcome.end in made.prompt
    for ids, text in zip(answers, ("the fox", "the lazy dog"), strict=True):
        assert _text(tokenizer, ids[:-1] if closes else ids).strip() == text
        assert (ids[-1] == outcome.end) is closes
    (without,) = _pair_tokenizer(tokenizer, prompt)([pair(prompt)])
    assert isinstance(without, Tokenized)
    assert without.pair == replace(made, answers=())


def test_a_prompt_that_the_template_refuses_cannot_be_generated_from() -> None:
    tokenize = _pair_tokenizer(_trap("Gemma-like"), chat("hi"))
    with pytest.raises(TemplateRefusalError, match="System role not supported"):
        tokenize.prompt_ids(chat("hi", system="Be kind."))


# --- real tokenizers, real pairs ---


@functools.cache
def _hh_pairs() -> list[Pair]:
    """The first 200 single-turn pairs of HH, as conversations."""
    pairs: list[Pair] = []
    for line in (SHARED / "data/hh_rlhf_harmless/train.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        (prompt, chosen), (other, rejected) = (
            row[side].rsplit("\n\nAssistant: ", 1) for side in ("chosen", "rejected")
        )
        if prompt == other and "Assistant:" not in prompt and chosen and rejected:
            pairs.append(
                pair(chat(prompt.removeprefix("\n\nHuman: ")), chosen, rejected, f"train.jsonl:{len(pairs)}")
            )
    return pairs[:200]


@needs_shared
@pytest.mark.parametrize(
    ("model", "template", "end"),
    [
        ("base6m", "auto", "<|endoftext|>"),
        ("base6m", "chatml", "<|im_end|>"),
        ("stories260k", "auto", "</s>"),
        ("bench26m", "auto", "<|eos|>"),
    ],
)
def test_real_pairs_read_back_as_rendered(model: str, template: str, end: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models" / model)
    pairs = _hh_pairs()
    counts = RowCounts()
    tokenize = _pair_tokenizer(tokenizer, pairs[0].prompt, template=template)
    made = tokenize_examples(pairs, tokenize, counts)
    assert (len(made), counts.kept, counts.dropped) == (200, 200, {})
    assert made.stop_ids == (tokenizer.get_vocab()[end],)
    for source, ids in zip(pairs, made, strict=True):
        for response, content in ((ids.chosen, source.chosen), (ids.rejected, source.rejected)):
            text = _text(tokenizer, ids.prompt + response)
            assert content + end in text
            assert text.endswith(end)
            assert not text.endswith(end + end)


@needs_shared
def test_a_transcript_of_hh_reads_as_hh_was_published() -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models/base6m")
    source = _hh_pairs()[0]
    made = _tokenized(tokenizer, source).pair
    first = (SHARED / "data/hh_rlhf_harmless/train.jsonl").read_text(encoding="utf-8").splitlines()[0]
    assert _text(tokenizer, made.prompt + made.chosen) == json.loads(first)["chosen"] + "<|endoftext|>"
