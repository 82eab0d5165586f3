"""From examples to token ids: one BOS, the exact prompt boundary, the end of the response scored once.

Prompt and response are encoded together, verbatim, so a token may span the place where they meet.  The
prompt is then what all encodings share and every token after it is response: nothing is context in one branch
and scored in the other.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, takewhile
from typing import TYPE_CHECKING, Literal

from orpo.data.pairs import EMPTY_RESPONSE, Example, Pair, Prompt, Single, Span, TokenizedPair
from orpo.data.rendering import Dropped, Renderer, Rendering
from orpo.data.specials import added_prefix
from orpo.data.templates import Template

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Truncation = Literal["cut", "drop"]

NO_PROMPT = "prompt without tokens of its own, and no BOS"
NO_ROOM = "prompt leaves no room for a response"
TOO_LONG = "longer than max_length"
IDENTICAL = "responses identical as tokens"
IDENTICAL_CUT = "responses identical after the cut at max_length"

CUT = "response cut at max_length"
MERGED = "response merges with the end of the prompt"
END_INSIDE = "response contains the token that ends it"


@dataclass(frozen=True)
class Tokenized:
    """A usable example."""

    pair: TokenizedPair

    end: int
    """Id of the token that ends its untruncated responses."""

    notes: tuple[str, ...]
    """What people should know about it, each a key of `RowCounts.notes`."""


class PairTokenizer:
    """Turns examples into token ids.

    Args:
        tokenizer: the model's; needs an EOS token where no template closes the response, but no pad token.
        template: see `resolve_template`.
        max_length: most tokens of prompt + response, in either branch.
        truncation: `cut` over-long responses at the end, which leaves them without end-of-turn, or `drop`
            their pairs.  A pair whose prompt leaves no room for a response token is always dropped.
        finds_answers: whether to find the assistant's earlier turns in prompts.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        max_length: int,
        truncation: Truncation = "cut",
        finds_answers: bool = False,
    ) -> None:
        self._tokenizer = tokenizer
        self._renderer = Renderer(tokenizer, template, finds_answers=finds_answers)
        self._prefix = list(added_prefix(tokenizer))
        self._max_length = max_length
        self._truncation: Truncation = truncation

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """What a model is given to generate a response to `prompt`.

        Raises:
            TemplateRefusalError: the template raised an error for it.
        """
        return self._encode([self._renderer.prompt(prompt)])[0]

    def __call__(self, examples: Sequence[Example]) -> list[Tokenized | Dropped]:
        """Tokenise examples together, in order.

        Raises:
            DataError: the template does not write a conversation as its prompt followed by the response.
            ConfigError: the template is not valid, or nothing ends a response: neither template nor EOS.
        """
        renderings = [self._renderer.example(example) for example in examples]
        texts = [
            text
            for rendering in renderings
            if isinstance(rendering, Rendering)
            for text in _texts_of(rendering)
        ]
        encodings = iter(self._encode(texts))
        return [
            rendering if isinstance(rendering, Dropped) else self._assemble(example, rendering, encodings)
            for example, rendering in zip(examples, renderings, strict=True)
        ]

    def _encode(self, texts: list[str]) -> list[list[int]]:
        """Ids of each text, with the tokenizer's own prefix unless the text brings it, and no suffix."""
        if not texts:
            return []
        encodings: list[list[int]] = self._tokenizer(
            texts,
            add_special_tokens=False,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )["input_ids"]
        size = len(self._prefix)
        return [ids if ids[:size] == self._prefix else self._prefix + ids for ids in encodings]

    def _assemble(
        self, example: Example, rendering: Rendering, encodings: Iterator[list[int]]
    ) -> Tokenized | Dropped:
        """The outcome of an example, whose texts are the next ones of `encodings`."""
        prompt = next(encodings)
        branches = list(islice(encodings, len(rendering.branches)))
        edges = [common_prefix(prompt, ids) for ids in islice(encodings, 2 * len(rendering.answers))]

        start = common_prefix(prompt, *branches)
        if start == 0:
            return Dropped(NO_PROMPT)
        if _closed(prompt, rendering.end) in [_closed(branch, rendering.end) for branch in branches]:
            return Dropped(EMPTY_RESPONSE)
        responses = [_closed(branch[start:], rendering.end) for branch in branches]
        if _are_same(responses):
            return Dropped(IDENTICAL)

        room = self._max_length - start
        if room < 1:
            return Dropped(NO_ROOM)
        too_long = any(len(response) > room for response in responses)
        if too_long and self._truncation == "drop":
            return Dropped(TOO_LONG)
        kept = [tuple(response[:room]) for response in responses]
        if _are_same(kept):
            return Dropped(IDENTICAL_CUT)

        notes = {
            CUT: too_long,
            MERGED: start < len(prompt),
            END_INSIDE: any(rendering.end in response[:-1] for response in responses),
        }
        chosen, rejected = kept if isinstance(example, Pair) else _placed(example, *kept)
        return Tokenized(
            TokenizedPair(
                prompt=tuple(prompt[:start]),
                chosen=chosen,
                rejected=rejected,
                where=example.where,
                weight=example.weight,
                margin=example.margin if isinstance(example, Pair) else 0.0,
                answers=_spans(edges, start),
            ),
            rendering.end,
            rendering.notes + tuple(note for note, applies in notes.items() if applies),
        )


def _texts_of(rendering: Rendering) -> list[str]:
    """What is encoded of an example: its prompt, its branches, and the prompt up to each answer's edges."""
    edges = [rendering.prompt[:edge] for span in rendering.answers for edge in span]
    return [rendering.prompt, *rendering.branches, *edges]


def common_prefix(first: Sequence[int], *others: Sequence[int]) -> int:
    """Number of ids that all begin with."""
    size = min(map(len, (first, *others)))
    if all(first[:size] == other[:size] for other in others):
        return size
    columns = zip(first, *others, strict=False)
    return sum(1 for _ in takewhile(lambda column: len(set(column)) == 1, columns))


def _are_same(responses: Sequence[Sequence[int]]) -> bool:
    return len(responses) == 2 and responses[0] == responses[1]


def _placed(single: Single, response: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The only response in its place among chosen and rejected."""
    return (response, ()) if single.is_desirable else ((), response)


def _spans(edges: Sequence[int], stop: int) -> tuple[Span, ...]:
    """Spans before `stop` from their starts and ends in turn; empty ones are left out."""
    ends = iter(min(edge, stop) for edge in edges)
    return tuple((start, end) for start, end in zip(ends, ends, strict=True) if start < end)


def _closed(ids: list[int], end: int) -> list[int]:
    """`ids` with exactly one `end` after them."""
    size = len(ids)
    while size and ids[size - 1] == end:
        size -= 1
    return [*ids[:size], end]
