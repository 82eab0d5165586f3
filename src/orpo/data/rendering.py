"""From an example to the texts that are encoded: prompt, prompt + chosen, prompt + rejected.

A chat template is a program of somebody else's, so nothing is assumed about it: what it writes between the
generation prompt and a response, and after the response, is found for each conversation by rendering it
with a marker in the response's place.  That costs one more rendering per pair (some 20 microseconds) and
holds for templates that trim contents, open a thinking block or vary with the conversation.  The assistant's
earlier turns are found in the same way.

Templates run only in transformers' sandbox, through `apply_chat_template`.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from jinja2.exceptions import TemplateSyntaxError

from orpo.data.pairs import (
    EMPTY_RESPONSE,
    INVALID_UNICODE,
    Example,
    Message,
    Prompt,
    Span,
    is_unicode,
    responses_of,
)
from orpo.data.specials import added_tokens, eos_id
from orpo.data.templates import Template
from orpo.errors import ConfigError, DataError
from orpo.text import printable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

SYSTEM_LEFT_OUT = "system turn left out by the template"

_MARKER = "responseMarker0"
"""Letters and digits only, so that no template trims or escapes it."""


@dataclass(frozen=True)
class Rendering:
    """The texts of one example as the model reads them."""

    prompt: str

    branches: tuple[str, ...]
    """Prompt and response, of each response; where the template closes the turn, up to and including the
    token that does."""

    end: int
    """Id of the token that ends the response: the template's end-of-turn, or EOS."""

    notes: tuple[str, ...] = ()
    """What the template did that people should know."""

    answers: tuple[Span, ...] = ()
    """Characters of the assistant's earlier turns in the prompt, each up to and including the token that
    closes it."""


@dataclass(frozen=True)
class Dropped:
    """An example that cannot be used."""

    reason: str


class TemplateRefusalError(DataError):
    """The template raised an error for one conversation."""


@dataclass(frozen=True)
class _Frame:
    """What a template writes around a response."""

    prompt: str
    opening: str
    """Between the generation prompt and the response, such as an empty thinking block."""

    closing: str
    """After the response."""

    kept_closing: str
    """`closing` as far as it is part of the response: up to the end-of-turn token, or nothing."""

    end: int


class Renderer:
    """Writes examples as text.

    Args:
        tokenizer: owner of the special tokens and of the sandbox that templates run in.
        template: what to write conversations with.
        finds_answers: whether to find the assistant's earlier turns.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, template: Template, *, finds_answers: bool = False
    ) -> None:
        self._tokenizer = tokenizer
        self._finds_answers = finds_answers
        self._template = template
        self._specials = added_tokens(tokenizer)
        # Of two tokens at one place the longer is the one that the tokenizer takes.
        longest_first = sorted(self._specials, key=len, reverse=True)
        self._special = re.compile("|".join(re.escape(token) for token in longest_first) or r"(?!)")

    def prompt(self, prompt: Prompt) -> str:
        """The text that a response continues.

        Raises:
            TemplateRefusalError: the template raised an error for it.
            ConfigError: the template is not valid.
        """
        messages = self._messages(prompt, "prompt")
        if isinstance(messages, str):
            return messages
        return self._write([messages], add_generation_prompt=True)[0]

    def example(self, example: Example) -> Rendering | Dropped:
        """The texts of an example.

        Raises:
            DataError: the template does not write a conversation as its prompt followed by the response.
            ConfigError: the template is not valid, or nothing ends a response: neither template nor EOS.
        """
        try:
            rendering = self._render(example)
        except TemplateRefusalError as refusal:
            return Dropped(refusal.message)
        if isinstance(rendering, Rendering) and not all(map(is_unicode, rendering.branches)):
            return Dropped(INVALID_UNICODE)
        return rendering

    def _render(self, example: Example) -> Rendering | Dropped:
        messages, responses = self._messages(example.prompt, example.where), responses_of(example)
        if isinstance(messages, str):
            return Rendering(messages, tuple(messages + text for text in responses), self._eos())
        prompt = self._write([messages], add_generation_prompt=True)[0]
        marked, *others = self._continuations(messages, (_MARKER, *responses), prompt, example.where)
        frame = self._frame(prompt, marked, example.where)
        written = [self._response(continuation, frame, example.where) for continuation in others]
        if frame.opening in written:
            return Dropped(EMPTY_RESPONSE)
        return Rendering(
            prompt=frame.prompt,
            branches=tuple(frame.prompt + text + frame.kept_closing for text in written),
            end=frame.end,
            notes=_notes(messages, frame),
            answers=self._answers(messages, frame, example.where) if self._finds_answers else (),
        )

    def _messages(self, prompt: Prompt, where: str) -> str | tuple[Message, ...]:
        """The conversation that a prompt stands for, or its text if it stays plain."""
        if isinstance(prompt, str):
            return (Message("user", prompt),) if self._template.wraps_text else prompt
        if self._template.text is None:
            raise DataError(
                f"{where}: this prompt is made of messages, and there is no template to write them with",
                hint="Name a template in data.template; `auto` took none, because the first prompts of each "
                "source are plain text.",
            )
        return prompt

    def _answers(self, messages: tuple[Message, ...], frame: _Frame, where: str) -> tuple[Span, ...]:
        """Characters of the assistant's turns in the frame's prompt, closed as the last turn is."""
        places = [place for place, message in enumerate(messages) if message.role == "assistant"]
        marked = [
            (*messages[:place], Message("assistant", _MARKER), *messages[place + 1 :]) for place in places
        ]
        texts = self._write(marked, add_generation_prompt=True) if marked else ()
        return tuple(self._answer(text, frame, where) for text in texts)

    def _answer(self, marked: str, frame: _Frame, where: str) -> Span:
        """Where the marker stands for a turn of the frame's prompt."""
        before, found, after = marked.partition(_MARKER)
        prompt = frame.prompt
        end = len(prompt) - len(after)
        is_around = prompt.startswith(before) and prompt.endswith(after) and end >= len(before)
        if not found or not is_around or not after.startswith(frame.kept_closing):
            raise DataError(
                f"{where}: the chat template {self._template.name} does not write the assistant's earlier "
                "turns one by one and closed like the last, so their tokens cannot be told apart",
                hint="Name another template in data.template, or set objective.nll_turns=final.",
            )
        return len(before), end + len(frame.kept_closing)

    def _frame(self, prompt: str, marked: str, where: str) -> _Frame:
        """What surrounds the marker in the continuation of a prompt."""
        opening, found, closing = marked.partition(_MARKER)
        if not found:
            raise DataError(
                f"{where}: the chat template {self._template.name} does not write the assistant's last turn",
                hint=_OTHER_TEMPLATE,
            )
        end_of_turn = self._special.search(closing)
        if end_of_turn is None:
            return _Frame(prompt, opening, closing, kept_closing="", end=self._eos())
        return _Frame(
            prompt,
            opening,
            closing,
            kept_closing=closing[: end_of_turn.end()],
            end=self._specials[end_of_turn.group()],
        )

    def _response(self, continuation: str, frame: _Frame, where: str) -> str:
        """What the template writes for a response, from the end of the prompt to the frame's closing."""
        if not continuation.endswith(frame.closing):
            raise DataError(
                f"{where}: the chat template {self._template.name} ends turns in different ways: "
                f"{continuation[-40:]!r}, expected {frame.closing!r} at the end",
                hint=_OTHER_TEMPLATE,
            )
        return continuation.removesuffix(frame.closing)

    def _continuations(
        self, messages: tuple[Message, ...], contents: Sequence[str], prompt: str, where: str
    ) -> list[str]:
        """The conversation with each content as last turn, less `prompt`, which it must start with."""
        conversations = [(*messages, Message("assistant", content)) for content in contents]
        texts = self._write(conversations, add_generation_prompt=False)
        for text in texts:
            if not text.startswith(prompt):
                raise DataError(_divergence(prompt, text, self._template.name, where), hint=_OTHER_TEMPLATE)
        return [text[len(prompt) :] for text in texts]

    def _write(
        self, conversations: Sequence[tuple[Message, ...]], *, add_generation_prompt: bool
    ) -> list[str]:
        return written(
            self._tokenizer, self._template, conversations, add_generation_prompt=add_generation_prompt
        )

    def _eos(self) -> int:
        eos = eos_id(self._tokenizer)
        if eos is None:
            raise ConfigError(
                "the tokenizer has no EOS token and no template closes the response, so a model could not "
                "learn to stop",
                hint="Set eos_token in tokenizer_config.json, or use a chat template that closes turns.",
            )
        return eos


def written(
    tokenizer: PreTrainedTokenizerBase,
    template: Template,
    conversations: Sequence[tuple[Message, ...]],
    *,
    add_generation_prompt: bool = False,
) -> list[str]:
    """Conversations as text, together: what a call costs by itself is as much as what a template does.

    Args:
        tokenizer: owner of the special tokens and of the sandbox that templates run in.
        template: what to write them with.
        conversations: their turns.
        add_generation_prompt: whether to begin the assistant's turn after the last one.

    Raises:
        TemplateRefusalError: the template raised an error for one of them.
        ConfigError: the template is not valid.
    """
    try:
        rendered: Any = tokenizer.apply_chat_template(
            [
                [{"role": message.role, "content": message.content} for message in messages]
                for messages in conversations
            ],
            chat_template=template.text,
            add_generation_prompt=add_generation_prompt,
            tokenize=False,
        )
    except TemplateSyntaxError as error:
        raise ConfigError(
            f"the chat template {template.name} is not valid, line {error.lineno}: {error.message}"
        ) from None
    except Exception as error:  # noqa: BLE001  a template is a program: its expressions may raise anything
        reason = printable(str(error), 120)
        raise TemplateRefusalError(f"refused by the chat template: {reason}") from None
    return rendered


_OTHER_TEMPLATE = (
    "Name another template in data.template. It must write the generation prompt exactly as it starts the "
    "assistant's turn, and the turn's content once."
)


def _divergence(prompt: str, full: str, template: str, where: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(prompt, full, strict=False)) if a != b), len(full))
    near = slice(max(0, at - 30), at + 40)
    return (
        f"{where}: the chat template {template} is not prefix-stable: the prompt is not the start of the "
        f"conversation, from character {at}\n"
        f"  prompt:       {prompt[near]!r}\n"
        f"  conversation: {full[near]!r}"
    )


def _notes(messages: tuple[Message, ...], frame: _Frame) -> tuple[str, ...]:
    notes: list[str] = []
    if frame.opening.strip():
        notes.append(f"template writes {frame.opening!r} before the response, scored with it")
    if any(m.role == "system" and m.content.strip() not in frame.prompt for m in messages):
        notes.append(SYSTEM_LEFT_OUT)
    return tuple(notes)
