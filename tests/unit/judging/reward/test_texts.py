"""What a reward model reads is what its training, its template or its kind asks for."""

from __future__ import annotations

import pytest
from tokenizers import processors
from transformers import PreTrainedTokenizerBase, PreTrainedTokenizerFast

from orpo.data.pairs import Message, Prompt
from orpo.data.rendering import Dropped
from orpo.data.templates import Template
from orpo.errors import ConfigError
from orpo.judging.reward.texts import Text, choose_writer
from tests.reward import TEMPLATE
from tests.tiny import byte_tokenizer

TURNS = (Message("user", "a?"), Message("assistant", "b"), Message("user", "c?"))


def written(
    tokenizer: PreTrainedTokenizerBase,
    prompt: Prompt,
    response: str,
    *,
    positions: int | None = 128,
    trained: tuple[Template, int] | None = None,
) -> Text | Dropped:
    (found,) = choose_writer(tokenizer, positions=positions, trained=trained)([(prompt, response)])
    return found


def read(tokenizer: PreTrainedTokenizerBase, found: Text | Dropped) -> str:
    assert isinstance(found, Text)
    return str(tokenizer.decode(list(found.inputs["input_ids"])))


def with_template() -> PreTrainedTokenizerFast:
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def test_a_model_with_a_template_reads_the_whole_conversation() -> None:
    tokenizer = with_template()
    assert read(tokenizer, written(tokenizer, "a?", "b")) == "user: a?</s>\nassistant: b</s>\n"
    several = read(tokenizer, written(tokenizer, TURNS, "d"))
    assert several == "user: a?</s>\nassistant: b</s>\nuser: c?</s>\nassistant: d</s>\n"


def test_a_model_of_a_run_reads_up_to_the_token_that_ends_the_turn() -> None:
    tokenizer = with_template()
    trained = Template("model", TEMPLATE, wraps_text=True), 64
    assert read(tokenizer, written(tokenizer, "a?", "b", trained=trained)) == (
        "user: a?</s>\nassistant: b</s>"
    )


def test_a_run_without_a_template_reads_text_though_its_tokenizer_has_one() -> None:
    tokenizer = with_template()
    trained = Template("none", None), 64
    assert read(tokenizer, written(tokenizer, "a?", " b", trained=trained)) == "a? b</s>"


def test_without_a_template_the_response_follows_the_prompt_and_is_ended_once() -> None:
    tokenizer = byte_tokenizer()
    assert read(tokenizer, written(tokenizer, "a?", " b")) == "a? b</s>"
    assert read(tokenizer, written(tokenizer, "a?", " b</s>")) == "a? b</s>"


def test_encoders_read_two_texts() -> None:
    tokenizer = byte_tokenizer()
    tokenizer.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
    tokenizer.add_special_tokens({"sep_token": "</s>", "cls_token": "<s>"})
    tokenizer.backend_tokenizer.post_processor = processors.BertProcessing(("</s>", 2), ("<s>", 1))
    found = written(tokenizer, "a?", "b")
    assert read(tokenizer, found) == "<s>a?</s>b</s>"
    assert isinstance(found, Text)
    assert found.inputs["token_type_ids"] == [0, 0, 0, 0, 1, 1]


def test_one_turn_is_text_where_there_is_no_template_and_several_are_none() -> None:
    tokenizer = byte_tokenizer()
    assert read(tokenizer, written(tokenizer, (Message("user", "a?"),), " b")) == "a? b</s>"
    assert written(tokenizer, TURNS, "d") == Dropped(
        "a conversation of several turns, and the model has no chat template"
    )


@pytest.mark.parametrize("trained", [None, (Template("model", TEMPLATE, wraps_text=True), 40)])
def test_what_is_longer_than_the_model_reads_is_cut_and_told(trained: tuple[Template, int] | None) -> None:
    tokenizer = with_template()
    whole = written(tokenizer, "a?", "b" * 8, positions=40, trained=trained)
    cut = written(tokenizer, "a?", "b" * 60, positions=40, trained=trained)
    assert isinstance(whole, Text)
    assert isinstance(cut, Text)
    assert (whole.is_cut, cut.is_cut, len(cut)) == (False, True, 40)


def test_what_cannot_be_written_says_why() -> None:
    tokenizer = with_template()
    assert written(tokenizer, "a?", "\ud800") == Dropped("text that is not valid Unicode")
    tokenizer.chat_template = "{{ raise_exception('no such thing') }}"
    refused = written(tokenizer, "a?", "b")
    assert isinstance(refused, Dropped)
    assert refused.reason == "refused by the chat template: no such thing"
    tokenizer.chat_template = "{% for %}"
    with pytest.raises(ConfigError, match="the chat template model is not valid, line 1"):
        written(tokenizer, "a?", "b")
    trained = Template("none", None), 3
    crowded = written(byte_tokenizer(), "a long prompt", "b", trained=trained)
    assert crowded == Dropped("prompt leaves no room for a response")
