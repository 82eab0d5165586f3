"""What a reward model reads: the token ids of a prompt with a response.

A model reads rightly only what was written as its training data was.  For a run of ours that is on record.
Another model has a chat template, which writes the whole conversation; or a token that separates two texts;
or neither, and reads the response right after the prompt, and EOS.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from transformers import PreTrainedTokenizerBase

from orpo.data.pairs import INVALID_UNICODE, Message, Prompt, Single, is_unicode
from orpo.data.rendering import Dropped, TemplateRefusalError, written
from orpo.data.shapes import Transcripts
from orpo.data.templates import Template, own_template
from orpo.data.tokens import CUT, PairTokenizer, Tokenized

_TURNS = "a conversation of several turns, and the model has no chat template"


@dataclass(frozen=True)
class Text:
    """A prompt with a response, as a model reads them."""

    inputs: Mapping[str, Sequence[int]]
    """By the names of the model's arguments, `input_ids` among them."""

    is_cut: bool
    """Whether there was more than the model reads."""

    def __len__(self) -> int:
        return len(self.inputs["input_ids"])


class Writer(Protocol):
    """Writes prompts and responses as a model reads them."""

    @property
    def transcripts(self) -> Transcripts:
        """What it takes for a prompt that is a transcript."""
        ...

    def __call__(self, both: Sequence[tuple[Prompt, str]]) -> list[Text | Dropped]:
        """Each prompt with its response, or why there is nothing to read.

        Raises:
            DataError, ConfigError: the model's chat template cannot be used.
        """
        ...


def choose_writer(
    tokenizer: PreTrainedTokenizerBase, *, positions: int | None, trained: tuple[Template, int] | None
) -> Writer:
    """The writer for a model.

    Args:
        tokenizer: of the model.
        positions: tokens that the model has positions for, if it says so.
        trained: of a run of ours, the template and the most tokens of its training data.
    """
    if trained is not None:
        template, max_length = trained
        writer = Continuation(tokenizer, template, max_length)
        return writer if template.text is not None else PlainPrompts(writer)
    limit = min(positions or tokenizer.model_max_length, tokenizer.model_max_length)
    if tokenizer.chat_template is not None:
        return Conversation(tokenizer, limit)
    if tokenizer.sep_token_id is not None:
        return PlainPrompts(TwoTexts(tokenizer, limit))
    return PlainPrompts(Continuation(tokenizer, Template("none", None), limit))


class Continuation:
    """Writes prompts and responses as they are written for training; see `PairTokenizer`.

    Args:
        tokenizer: of the model.
        template: prompts that are text become the user's turn, unless it has none.
        max_length: most tokens; responses are cut at their end.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, template: Template, max_length: int) -> None:
        self.transcripts: Transcripts = "text" if template.text is None else "messages"
        self._tokenize = PairTokenizer(tokenizer, template, max_length=max_length)

    def __call__(self, both: Sequence[tuple[Prompt, str]]) -> list[Text | Dropped]:
        """See `Writer`."""
        examples = [Single(prompt, text, is_desirable=True, where="a response") for prompt, text in both]
        return [
            Text({"input_ids": found.pair.prompt + found.pair.chosen}, CUT in found.notes)
            if isinstance(found, Tokenized)
            else found
            for found in self._tokenize(examples)
        ]


class Conversation:
    """Writes whole conversations with the model's own chat template, and nothing around them.

    Args:
        tokenizer: of the model.
        max_length: most tokens.
    """

    transcripts: Transcripts = "messages"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._template = Template("model", own_template(tokenizer))
        self._max_length = max_length

    def __call__(self, both: Sequence[tuple[Prompt, str]]) -> list[Text | Dropped]:
        """See `Writer`."""
        return [self._written(prompt, response) for prompt, response in both]

    def _written(self, prompt: Prompt, response: str) -> Text | Dropped:
        turns = (Message("user", prompt),) if isinstance(prompt, str) else prompt
        try:
            (text,) = written(self._tokenizer, self._template, [(*turns, Message("assistant", response))])
        except TemplateRefusalError as refusal:
            return Dropped(refusal.message)
        if not is_unicode(text):
            return Dropped(INVALID_UNICODE)
        return _encoded(self._tokenizer, self._max_length, text, add_special_tokens=False)


class TwoTexts:
    """Writes prompt and response as the two texts that encoders such as DeBERTa tell apart.

    Args:
        tokenizer: of the model.
        max_length: most tokens.
    """

    transcripts: Transcripts = "text"

    def __init__(self, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length

    def __call__(self, both: Sequence[tuple[Prompt, str]]) -> list[Text | Dropped]:
        """See `Writer`."""
        return [
            _encoded(self._tokenizer, self._max_length, prompt, response)
            if is_unicode(f"{prompt}{response}")
            else Dropped(INVALID_UNICODE)
            for prompt, response in both
        ]


class PlainPrompts:
    """Takes prompts of one turn as their text, for a writer that takes no messages.

    Args:
        writer: takes text only.
    """

    transcripts: Transcripts = "text"

    def __init__(self, writer: Writer) -> None:
        self._writer = writer

    def __call__(self, both: Sequence[tuple[Prompt, str]]) -> list[Text | Dropped]:
        """See `Writer`."""
        plain = [(_plain(prompt), response) for prompt, response in both]
        found = iter(self._writer([(prompt, text) for prompt, text in plain if prompt is not None]))
        return [Dropped(_TURNS) if prompt is None else next(found) for prompt, _ in plain]


def _plain(prompt: Prompt) -> str | None:
    if isinstance(prompt, str):
        return prompt
    return prompt[0].content if len(prompt) == 1 else None


def _encoded(tokenizer: PreTrainedTokenizerBase, max_length: int, *texts: Any, **options: bool) -> Text:
    options |= {"return_attention_mask": False, "verbose": False}
    inputs: dict[str, list[int]] = dict(tokenizer(*texts, **options))
    is_cut = len(inputs["input_ids"]) > max_length
    if is_cut:
        inputs = dict(tokenizer(*texts, truncation=True, max_length=max_length, **options))
    return Text(inputs, is_cut)
