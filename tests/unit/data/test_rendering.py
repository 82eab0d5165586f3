"""The texts of a pair, for templates that do unusual things."""

from __future__ import annotations

import pytest

from orpo.data.pairs import Example, Message, Single
from orpo.data.rendering import EMPTY_RESPONSE, INVALID_UNICODE, SYSTEM_LEFT_OUT, Dropped, Renderer, Rendering
from orpo.data.templates import Template, resolve_template
from orpo.errors import ConfigError, DataError
from tests.conversations import chat, pair
from tests.trap_tokenizers import (
    CHATML_LIKE,
    GEMMA_LIKE,
    LLAMA_LIKE,
    THINKING,
    UNCLOSED,
    UNSTABLE,
    byte_level,
)

CHAT_TOKENS = ("<|im_start|>", "<|im_end|>", "<start>", "<end>")


def _render(
    template: str, example: Example, *, eos: str | None = "</s>", finds_answers: bool = False
) -> Rendering | Dropped:
    tokenizer = byte_level(bos="<s>", eos=eos, special=CHAT_TOKENS, template=template)
    resolved = resolve_template(tokenizer, "auto", [example.prompt])
    return Renderer(tokenizer, resolved, finds_answers=finds_answers).example(example)


def _rendered(
    template: str, example: Example, *, eos: str | None = "</s>", finds_answers: bool = False
) -> Rendering:
    rendering = _render(template, example, eos=eos, finds_answers=finds_answers)
    assert isinstance(rendering, Rendering)
    return rendering


def _token(name: str) -> int:
    return byte_level(bos="<s>", special=CHAT_TOKENS).get_vocab()[name]


def test_what_follows_the_end_of_turn_is_left_out() -> None:
    rendering = _rendered(CHATML_LIKE, pair(chat("hi"), "yes", "no"))
    assert rendering.prompt == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert rendering.branches[0] == rendering.prompt + "yes<|im_end|>"
    assert rendering.branches[1] == rendering.prompt + "no<|im_end|>"
    assert rendering.end == _token("<|im_end|>")


def test_what_a_template_writes_before_the_end_of_turn_is_kept() -> None:
    rendering = _rendered(LLAMA_LIKE, pair(chat("hi"), "yes", "no"))
    assert rendering.branches[0] == "<s>[INST] hi [/INST] yes </s>"
    assert rendering.end == _token("</s>")


def test_contents_may_be_trimmed() -> None:
    rendering = _rendered(GEMMA_LIKE, pair(chat(" hi "), "  yes\n", "no"))
    assert rendering.branches[0] == "<s><start>user\nhi<end>\n<start>model\nyes<end>"
    assert rendering.end == _token("<end>")


def test_of_two_tokens_at_one_place_the_longer_ends_the_turn() -> None:
    tokenizer = byte_level(special=("<end>", "<end>.", "<end>of"))
    by_both = Template("x", "{% for m in messages %}{{ m['content'] + '<end>of' }}{% endfor %}")
    rendering = Renderer(tokenizer, by_both).example(pair(chat("hi"), "yes", "no"))
    assert isinstance(rendering, Rendering)
    assert rendering.branches[0].endswith("yes<end>of")
    assert tokenizer(rendering.branches[0])["input_ids"][-1] == rendering.end


def test_a_response_that_contains_the_marker_or_the_closing_is_kept_whole() -> None:
    content = "responseMarker0<|im_end|>\nand more"
    rendering = _rendered(CHATML_LIKE, pair(chat("responseMarker0"), content, "no"))
    assert rendering.branches[0] == rendering.prompt + content + "<|im_end|>"


def test_a_thinking_block_belongs_to_the_response_and_is_noted() -> None:
    rendering = _rendered(THINKING, pair(chat("hi"), "yes", "no"))
    assert rendering.prompt.endswith("<|im_start|>assistant\n")
    assert rendering.branches[0] == rendering.prompt + "<think>\n\n</think>\n\nyes<|im_end|>"
    assert rendering.notes == (
        r"template writes '<think>\n\n</think>\n\n' before the response, scored with it",
    )


def test_a_template_that_does_not_close_the_turn_leaves_that_to_eos() -> None:
    rendering = _rendered(UNCLOSED, pair(chat("hi"), "yes", "no"))
    assert rendering.branches[0] == "user: hi\n\nassistant: yes"
    assert rendering.end == _token("</s>")


def test_no_eos_and_no_closing_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no EOS token and no template closes the response"):
        _render(UNCLOSED, pair(chat("hi")), eos=None)


def test_no_eos_and_plain_text_is_an_error() -> None:
    with pytest.raises(ConfigError, match="no EOS token"):
        _render(CHATML_LIKE, pair("hi"), eos=None)


def test_a_template_that_closes_the_turn_needs_no_eos() -> None:
    assert _rendered(CHATML_LIKE, pair(chat("hi")), eos=None).branches[0].endswith("<|im_end|>")


def test_text_stays_text() -> None:
    expected = Rendering("Q: ", ("Q: yes", "Q:  no"), _token("</s>"))
    assert _rendered(CHATML_LIKE, pair("Q: ", "yes", " no")) == expected


def test_a_single_response_has_one_branch() -> None:
    rendering = _rendered(CHATML_LIKE, Single(chat("hi"), "yes", is_desirable=True, where="a.jsonl:1"))
    assert rendering.branches == (rendering.prompt + "yes<|im_end|>",)


EARLIER = ("hi", " a ", "and", "b<|im_end|>", "so")
"""A conversation with two answers, of which one has blanks around it and one spells the end of its turn."""


@pytest.mark.parametrize(
    ("template", "answers"),
    [
        (CHATML_LIKE, [" a <|im_end|>", "b<|im_end|><|im_end|>"]),
        (GEMMA_LIKE, ["a<end>", "b<|im_end|><end>"]),
        (LLAMA_LIKE, [" a  </s>", "b<|im_end|> </s>"]),
        (THINKING, [" a <|im_end|>", "b<|im_end|><|im_end|>"]),
        (UNCLOSED, [" a ", "b<|im_end|>"]),
    ],
    ids=["chatml", "trims", "a space before", "thinks before the last turn only", "does not close"],
)
def test_earlier_answers_are_found_with_what_closes_them(template: str, answers: list[str]) -> None:
    rendering = _rendered(template, pair(chat(*EARLIER)), finds_answers=True)
    assert [rendering.prompt[start:end] for start, end in rendering.answers] == answers


def test_earlier_answers_are_sought_on_request_only() -> None:
    assert _rendered(CHATML_LIKE, pair(chat(*EARLIER))).answers == ()


@pytest.mark.parametrize(
    "earlier",
    ["m['content'] + m['content'] + '<|im_end|>'", "m['content'] | upper + '<|im_end|>'", "m['content']"],
    ids=["twice", "changed", "closed in another way"],
)
def test_earlier_turns_that_are_not_written_like_the_last_cannot_be_told_apart(earlier: str) -> None:
    is_earlier = "m['role'] == 'assistant' and not loop.last"
    template = CHATML_LIKE.replace(
        "m['content'] + '<|im_end|>", f"({earlier} if {is_earlier} else m['content'] + '<|im_end|>') + '"
    )
    with pytest.raises(DataError, match=r"a\.jsonl:1: the chat template .* earlier turns one by one"):
        _render(template, pair(chat(*EARLIER)), finds_answers=True)


def test_text_becomes_the_users_turn_under_a_named_template() -> None:
    tokenizer = byte_level()
    renderer = Renderer(tokenizer, resolve_template(tokenizer, "transcript", ["hi"]))
    assert renderer.prompt("hi") == renderer.prompt(chat("hi")) == "\n\nHuman: hi\n\nAssistant:"


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        (chat("hi", system="Be kind."), "System role not supported"),
        ((Message("user", "a"), Message("user", "b")), "Conversation roles must alternate"),
    ],
)
def test_a_refusal_of_the_template_drops_the_pair(prompt: tuple[Message, ...], reason: str) -> None:
    assert _render(GEMMA_LIKE, pair(prompt)) == Dropped(f"refused by the chat template: {reason}")


@pytest.mark.parametrize("expression", ["nothing.inside", "messages + 1"])
def test_an_expression_that_fails_drops_the_pair(expression: str) -> None:
    outcome = _render("{{ " + expression + " }}", pair(chat("hi")))
    assert isinstance(outcome, Dropped)
    assert outcome.reason.startswith("refused by the chat template: ")


def test_a_refusal_reaches_the_terminal_short_and_harmless() -> None:
    outcome = _render("{{ raise_exception('\\x1b[31m' + 'no ' * 100) }}", pair(chat("hi")))
    assert isinstance(outcome, Dropped)
    assert "\x1b" not in outcome.reason
    assert len(outcome.reason) < 160


def test_invalid_syntax_is_an_error_with_its_line() -> None:
    with pytest.raises(ConfigError, match="not valid, line 2"):
        _render("{% for m in messages %}\n{% if %}", pair(chat("hi")))


def test_a_template_that_is_not_prefix_stable_is_shown_where_it_diverges() -> None:
    with pytest.raises(DataError, match="not prefix-stable") as raised:
        _render(UNSTABLE, pair(chat("hi"), where="b.jsonl:7"))
    assert raised.value.message.startswith("b.jsonl:7: ")
    assert "from character 23" in raised.value.message
    assert "'user: hi</s>assistant: <think>'" in raised.value.message
    assert "'user: hi</s>assistant: responseMarker0</s>'" in raised.value.message


def test_a_template_that_omits_the_response_is_an_error() -> None:
    with pytest.raises(DataError, match="does not write the assistant's last turn"):
        _render("{{ messages[0]['content'] }}", pair(chat("hi")))


def test_a_template_that_closes_turns_by_content_is_an_error() -> None:
    by_content = (
        "{% for m in messages %}{{ m['content'] + ('!' if 'shout' in m['content'] else '') }}"
        "{{ '</s>' if 'shout' not in m['content'] }}{% endfor %}"
    )
    with pytest.raises(DataError, match="ends turns in different ways"):
        _render(by_content, pair(chat("hi"), "shout"))


@pytest.mark.parametrize("template", [CHATML_LIKE, GEMMA_LIKE, LLAMA_LIKE, THINKING, UNCLOSED])
def test_an_empty_response_is_dropped_whatever_the_template_writes_around_it(template: str) -> None:
    assert _render(template, pair(chat("hi"), rejected="")) == Dropped(EMPTY_RESPONSE)


def test_a_response_that_is_trimmed_away_is_dropped() -> None:
    assert _render(GEMMA_LIKE, pair(chat("hi"), chosen=" \n")) == Dropped(EMPTY_RESPONSE)


def test_a_system_turn_that_the_template_leaves_out_is_noted() -> None:
    assert _rendered(LLAMA_LIKE, pair(chat("hi", system="Be kind."))).notes == (SYSTEM_LEFT_OUT,)
    assert _rendered(CHATML_LIKE, pair(chat("hi", system="Be kind."))).notes == ()


@pytest.mark.parametrize("prompt", ["hi", chat("hi")])
def test_a_lone_surrogate_drops_the_pair(prompt: str) -> None:
    assert _render(CHATML_LIKE, pair(prompt, rejected="no \ud800")) == Dropped(INVALID_UNICODE)


def test_messages_without_a_template_are_refused_with_their_place() -> None:
    renderer = Renderer(byte_level(), Template("none", None))
    with pytest.raises(DataError, match=r"a\.jsonl:3: this prompt is made of messages"):
        renderer.example(pair(chat("hi"), where="a.jsonl:3"))
