"""From a pair to the three texts that are encoded: prompt, prompt + chosen, prompt + rejected.

A chat template is a program of somebody else's, so nothing is assumed about it: what it writes between the
generation prompt and a response, and after the response, is found for each conversation by rendering it
with a marker in the response's place.  That costs one more rendering per pair (some 20 microseconds) and
holds for templates that trim contents, open a thinking block or vary with the conversation.

Templates run only in transformers' sandbox, through `apply_chat_template`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from jinja2.exceptions import TemplateSyntaxError

from orpo.data.pairs import EMPTY_RESPONSE, INVALID_UNICODE, Message, Pair, Prompt, is_unicode
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
    """The texts of one pair as the model reads them."""

    prompt: str

    chosen: str
    """Prompt and response; where the template closes the turn, up to and including the token that does."""

    rejected: str
    """As `chosen`."""

    end: int
    """Id of the token that ends the response: the template's end-of-turn, or EOS."""

    notes: tuple[str, ...] = ()
    """What the template did that people should know."""


@dataclass(frozen=True)
class Dropped:
    """A pair that cannot be used."""

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
    """Writes pairs as text.

    Args:
        tokenizer: owner of the special tokens and of the sandbox that templates run in.
        template: what to write conversations with.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template) -> None:
        self._tokenizer = tokenizer
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
        messages = self._messages(prompt)
        return messages if isinstance(messages, str) else self._apply(messages, add_generation_prompt=True)

    def pair(self, pair: Pair) -> Rendering | Dropped:
        """The texts of a pair.

        Raises:
            DataError: the template does not write a conversation as its prompt followed by the response.
            ConfigError: the template is not valid, or nothing ends a response: neither template nor EOS.
        """
        try:
            rendering = self._render(pair)
        except TemplateRefusalError as refusal:
            return Dropped(refusal.message)
        if isinstance(rendering, Rendering) and not is_unicode(rendering.chosen + rendering.rejected):
            return Dropped(INVALID_UNICODE)
        return rendering

    def _render(self, pair: Pair) -> Rendering | Dropped:
        messages = self._messages(pair.prompt)
        if isinstance(messages, str):
            return Rendering(messages, messages + pair.chosen, messages + pair.rejected, self._eos())
        frame = self._frame(messages, pair.where)
        chosen = self._response(messages, pair.chosen, frame, pair.where)
        rejected = self._response(messages, pair.rejected, frame, pair.where)
        if frame.opening in (chosen, rejected):
            return Dropped(EMPTY_RESPONSE)
        return Rendering(
            prompt=frame.prompt,
            chosen=frame.prompt + chosen + frame.kept_closing,
            rejected=frame.prompt + rejected + frame.kept_closing,
            end=frame.end,
            notes=_notes(messages, frame),
        )

    def _messages(self, prompt: Prompt) -> str | tuple[Message, ...]:
        """The conversation that a prompt stands for, or its text if it stays plain."""
        if isinstance(prompt, str):
            return (Message("user", prompt),) if self._template.wraps_text else prompt
        assert self._template.text is not None, "resolve_template refuses conversations without a template"
        return prompt

    def _frame(self, messages: tuple[Message, ...], where: str) -> _Frame:
        prompt = self._apply(messages, add_generation_prompt=True)
        after_prompt = self._continuation(messages, _MARKER, prompt, where)
        opening, found, closing = after_prompt.partition(_MARKER)
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

    def _response(self, messages: tuple[Message, ...], content: str, frame: _Frame, where: str) -> str:
        """What the template writes for a response, from the end of the prompt to the frame's closing."""
        continuation = self._continuation(messages, content, frame.prompt, where)
        if not continuation.endswith(frame.closing):
            raise DataError(
                f"{where}: the chat template {self._template.name} ends turns in different ways: "
                f"{continuation[-40:]!r}, expected {frame.closing!r} at the end",
                hint=_OTHER_TEMPLATE,
            )
        return continuation.removesuffix(frame.closing)

    def _continuation(self, messages: tuple[Message, ...], content: str, prompt: str, where: str) -> str:
        """The rendered conversation with `content` as last turn, less `prompt`, which it must start with."""
        full = self._apply((*messages, Message("assistant", content)), add_generation_prompt=False)
        if not full.startswith(prompt):
            raise DataError(_divergence(prompt, full, self._template.name, where), hint=_OTHER_TEMPLATE)
        return full[len(prompt) :]

    def _apply(self, messages: tuple[Message, ...], *, add_generation_prompt: bool) -> str:
        try:
            rendered = self._tokenizer.apply_chat_template(
                [{"role": message.role, "content": message.content} for message in messages],
                chat_template=self._template.text,
                add_generation_prompt=add_generation_prompt,
                tokenize=False,
            )
        except TemplateSyntaxError as error:
            raise ConfigError(
                f"the chat template {self._template.name} is not valid, line {error.lineno}: {error.message}"
            ) from None
        except Exception as error:  # noqa: BLE001  a template is a program: its expressions may raise anything
            reason = printable(str(error), 120)
            raise TemplateRefusalError(f"refused by the chat template: {reason}") from None
        assert isinstance(rendered, str)
        return rendered

    def _eos(self) -> int:
        eos = eos_id(self._tokenizer)
        if eos is None:
            raise ConfigError(
                "the tokenizer has no EOS token and no template closes the response, so a model could not "
                "learn to stop",
                hint="Set eos_token in tokenizer_config.json, or use a chat template that closes turns.",
            )
        return eos


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
