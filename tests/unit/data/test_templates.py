"""Which template is chosen, and what the bundled ones write."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import pytest
from jinja2.exceptions import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from orpo.data.pairs import Message
from orpo.data.templates import resolve_template
from orpo.errors import ConfigError
from tests.conversations import chat
from tests.paths import SHARED, needs_shared
from tests.trap_tokenizers import CHATML_LIKE, byte_level


def _render(
    tokenizer: PreTrainedTokenizerBase, messages: tuple[Message, ...], *, generate: bool = False
) -> str:
    turns = [{"role": message.role, "content": message.content} for message in messages]
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generate)
    assert isinstance(text, str)
    return text


def test_auto_gives_conversations_the_models_own_template() -> None:
    tokenizer = byte_level(template=CHATML_LIKE)
    template = resolve_template(tokenizer, "auto", [chat("hi")])
    assert (template.name, template.text, template.wraps_text) == ("model", CHATML_LIKE, False)
    assert template.sha256 == hashlib.sha256(CHATML_LIKE.encode()).hexdigest()


def test_auto_gives_conversations_the_transcript_where_the_model_has_no_template() -> None:
    tokenizer = byte_level()
    template = resolve_template(tokenizer, "auto", ["text", chat("hi")])
    assert template.name == "transcript"
    assert tokenizer.chat_template == template.text


def test_auto_leaves_text_plain_and_the_tokenizer_as_it_is() -> None:
    tokenizer = byte_level()
    template = resolve_template(tokenizer, "auto", ["text"])
    assert (template.name, template.text, template.sha256) == ("none", None, None)
    assert tokenizer.chat_template is None


@pytest.mark.parametrize("prompts", [["text", "more"], ["text", chat("hi")]], ids=["text", "mixed"])
def test_auto_warns_once_when_text_bypasses_the_models_template(
    prompts: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        resolve_template(byte_level(template=CHATML_LIKE), "auto", prompts)
    assert len(caplog.records) == 1
    assert "stay plain" in caplog.text


def test_auto_does_not_warn_when_all_prompts_are_conversations(caplog: pytest.LogCaptureFixture) -> None:
    resolve_template(byte_level(template=CHATML_LIKE), "auto", [chat("hi")])
    assert not caplog.records


def test_none_with_conversations_says_what_to_do() -> None:
    with pytest.raises(ConfigError, match="made of messages") as raised:
        resolve_template(byte_level(), "none", ["text", chat("hi")])
    assert "chatml, transcript" in str(raised.value.hint)


def test_none_leaves_text_plain_without_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    template = resolve_template(byte_level(template=CHATML_LIKE), "none", ["text"])
    assert template.text is None
    assert not caplog.records


def test_a_named_template_takes_text_as_the_users_turn() -> None:
    assert resolve_template(byte_level(), "transcript", ["text"]).wraps_text


def test_transcript_writes_turns_as_plain_text_and_ends_the_assistants_with_eos() -> None:
    tokenizer = byte_level(eos="<end>")
    resolve_template(tokenizer, "transcript", [])
    assert _render(tokenizer, chat("Hi.", " Yes? ", "No\n"), generate=True) == (
        "\n\nHuman: Hi.\n\nAssistant:  Yes? <end>\n\nHuman: No\n\n\nAssistant:"
    )
    assert _render(tokenizer, chat("Hi.", "Yes?")) == "\n\nHuman: Hi.\n\nAssistant: Yes?<end>"


def test_transcript_writes_the_system_turn_before_the_first_human_turn() -> None:
    tokenizer = byte_level()
    resolve_template(tokenizer, "transcript", [])
    assert _render(tokenizer, chat("Hi.", system="Be kind.")) == "Be kind.\n\nHuman: Hi."


@pytest.mark.parametrize(
    ("messages", "complaint"),
    [
        ((Message("user", "Hi."), Message("system", "Be kind.")), "must come first"),
        ((Message("user", "Hi."), Message("tool", "42")), "not of tool"),
    ],
)
def test_transcript_refuses_turns_that_it_cannot_write(messages: tuple[Message, ...], complaint: str) -> None:
    tokenizer = byte_level()
    resolve_template(tokenizer, "transcript", [])
    with pytest.raises(TemplateError, match=complaint):
        _render(tokenizer, messages)


def test_transcript_adds_no_tokens() -> None:
    tokenizer = byte_level()
    vocabulary = tokenizer.get_vocab()
    resolve_template(tokenizer, "transcript", [])
    assert tokenizer.get_vocab() == vocabulary


def test_chatml_writes_every_turn_between_its_tokens() -> None:
    tokenizer = byte_level(special=("<|im_start|>", "<|im_end|>"))
    resolve_template(tokenizer, "chatml", [])
    assert _render(tokenizer, chat("Hi.", system="Be kind."), generate=True) == (
        "<|im_start|>system\nBe kind.<|im_end|>\n<|im_start|>user\nHi.<|im_end|>\n<|im_start|>assistant\n"
    )


def test_chatml_without_its_tokens_names_the_missing_one() -> None:
    with pytest.raises(ConfigError, match=r"needs <\|im_end\|> among"):
        resolve_template(byte_level(special=("<|im_start|>",)), "chatml", [])


@pytest.mark.parametrize("adds_bos", [False, True])
def test_a_bundled_template_writes_bos_exactly_if_the_tokenizer_adds_it(adds_bos: bool) -> None:
    tokenizer = byte_level(bos="<s>", adds_bos=adds_bos)
    resolve_template(tokenizer, "transcript", [])
    assert _render(tokenizer, chat("Hi.")).startswith("<s>") == adds_bos


def test_a_file_is_a_template(tmp_path: Path) -> None:
    file = tmp_path / "mine.jinja"
    file.write_text(CHATML_LIKE)
    tokenizer = byte_level()
    template = resolve_template(tokenizer, str(file), ["text"])
    assert (template.name, template.text, template.wraps_text) == (str(file), CHATML_LIKE, True)
    assert tokenizer.chat_template == CHATML_LIKE


def test_an_unknown_name_lists_what_there_is() -> None:
    with pytest.raises(ConfigError, match="no template 'alpaca'") as raised:
        resolve_template(byte_level(), "alpaca", [])
    assert "chatml, transcript" in str(raised.value.hint)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone\.jinja: No such file"):
        resolve_template(byte_level(), str(tmp_path / "gone.jinja"), [])


def test_a_file_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "latin.jinja"
    file.write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match=r"latin\.jinja is not UTF-8 \(byte 3\)"):
        resolve_template(byte_level(), str(file), [])


def test_of_several_templates_the_default_is_taken() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = {"default": CHATML_LIKE, "tool_use": "other"}
    assert resolve_template(tokenizer, "auto", [chat("hi")]).text == CHATML_LIKE


def test_several_templates_without_a_default_are_an_error() -> None:
    tokenizer = byte_level()
    tokenizer.chat_template = {"rag": "one", "tool_use": "other"}
    with pytest.raises(ConfigError, match="rag, tool_use"):
        resolve_template(tokenizer, "auto", [chat("hi")])


def test_the_template_is_saved_with_the_tokenizer(tmp_path: Path) -> None:
    tokenizer = byte_level()
    template = resolve_template(tokenizer, "auto", [chat("hi")])
    tokenizer.save_pretrained(tmp_path)
    assert AutoTokenizer.from_pretrained(tmp_path).chat_template == template.text


@needs_shared
@pytest.mark.parametrize(
    ("model", "name"), [("base6m", "transcript"), ("stories260k", "transcript"), ("bench26m", "model")]
)
def test_auto_on_real_tokenizers(model: str, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(SHARED / "models" / model)
    assert resolve_template(tokenizer, "auto", [chat("hi")]).name == name
