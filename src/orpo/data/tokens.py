"""From pairs to token ids: one BOS, the exact prompt boundary, the end of the response scored once.

Prompt and response are encoded together, verbatim, so a token may span the place where they meet.  The
prompt is then what all three encodings share and every token after it is response: nothing is context in
one branch and scored in the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Literal

from orpo.data.pairs import EMPTY_RESPONSE, Pair, Prompt, RowCounts, TokenizedPair
from orpo.data.rendering import Dropped, Renderer, Rendering
from orpo.data.specials import added_prefix
from orpo.data.templates import Template
from orpo.data.tokenized import TokenizedPairs, TokenizedPairsBuilder
from orpo.errors import DataError

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

BATCH = 1000
"""Pairs encoded by one call: enough for the tokenizer's threads, little enough for steady progress."""


@dataclass(frozen=True)
class Tokenized:
    """A usable pair."""

    pair: TokenizedPair

    end: int
    """Id of the token that ends its untruncated responses."""

    notes: tuple[str, ...]
    """What people should know about it, each a key of `RowCounts.notes`."""


class PairTokenizer:
    """Turns pairs into token ids.

    Args:
        tokenizer: the model's; needs an EOS token where no template closes the response, but no pad token.
        template: see `resolve_template`.
        max_length: most tokens of prompt + response, in either branch.
        truncation: `cut` over-long responses at the end, which leaves them without end-of-turn, or `drop`
            their pairs.  A pair whose prompt leaves no room for a response token is always dropped.
    """

    def __init__(
        self,
        tokenizer: PreTrainedTokenizerBase,
        template: Template,
        *,
        max_length: int,
        truncation: Truncation = "cut",
    ) -> None:
        self._tokenizer = tokenizer
        self._renderer = Renderer(tokenizer, template)
        self._prefix = list(added_prefix(tokenizer))
        self._max_length = max_length
        self._truncation: Truncation = truncation

    def prompt_ids(self, prompt: Prompt) -> list[int]:
        """What a model is given to generate a response to `prompt`.

        Raises:
            TemplateRefusalError: the template raised an error for it.
        """
        return self._encode([self._renderer.prompt(prompt)])[0]

    def __call__(self, pairs: Sequence[Pair]) -> list[Tokenized | Dropped]:
        """Tokenise pairs together, in order.

        Raises:
            DataError: the template does not write a conversation as its prompt followed by the response.
            ConfigError: the template is not valid, or nothing ends a response: neither template nor EOS.
        """
        renderings = [self._renderer.pair(pair) for pair in pairs]
        texts = [
            text
            for rendering in renderings
            if isinstance(rendering, Rendering)
            for text in (rendering.prompt, rendering.chosen, rendering.rejected)
        ]
        encodings = iter(self._encode(texts))
        return [
            rendering
            if isinstance(rendering, Dropped)
            else self._assemble(pair.where, rendering, *islice(encodings, 3))
            for pair, rendering in zip(pairs, renderings, strict=True)
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
        self, where: str, rendering: Rendering, prompt: list[int], chosen: list[int], rejected: list[int]
    ) -> Tokenized | Dropped:
        start = boundary(prompt, chosen, rejected)
        if start == 0:
            return Dropped(NO_PROMPT)
        if _closed(prompt, rendering.end) in (
            _closed(chosen, rendering.end),
            _closed(rejected, rendering.end),
        ):
            return Dropped(EMPTY_RESPONSE)
        responses = [_closed(branch[start:], rendering.end) for branch in (chosen, rejected)]
        if responses[0] == responses[1]:
            return Dropped(IDENTICAL)

        room = self._max_length - start
        if room < 1:
            return Dropped(NO_ROOM)
        too_long = any(len(response) > room for response in responses)
        if too_long and self._truncation == "drop":
            return Dropped(TOO_LONG)
        kept = [tuple(response[:room]) for response in responses]
        if kept[0] == kept[1]:
            return Dropped(IDENTICAL_CUT)

        notes = {
            CUT: too_long,
            MERGED: start < len(prompt),
            END_INSIDE: any(rendering.end in response[:-1] for response in responses),
        }
        return Tokenized(
            TokenizedPair(tuple(prompt[:start]), kept[0], kept[1], where),
            rendering.end,
            rendering.notes + tuple(note for note, applies in notes.items() if applies),
        )


def boundary(prompt: Sequence[int], chosen: Sequence[int], rejected: Sequence[int]) -> int:
    """Number of prompt tokens: the longest prefix of `prompt` that both branches start with."""
    size = len(prompt)
    if prompt == chosen[:size] == rejected[:size]:
        return size
    agree = zip(prompt, chosen, rejected, strict=False)
    return next((k for k, (p, c, r) in enumerate(agree) if not p == c == r), min(len(chosen), len(rejected)))


def tokenize_pairs(
    pairs: Iterable[Pair],
    pair_tokenizer: PairTokenizer,
    counts: RowCounts,
    progress: Callable[[int], None] | None = None,
) -> TokenizedPairs:
    """Tokenise all pairs, and move those that cannot be used from kept to dropped.

    Args:
        pairs: what the reader kept, and counted as kept.
        counts: account of the rows, updated.
        progress: called after each batch with the number of pairs it had.

    Raises:
        DataError: no pair is left of those given, or see `PairTokenizer.__call__`.
        ConfigError: see `PairTokenizer.__call__`.
    """
    builder = TokenizedPairsBuilder()
    remaining = iter(pairs)
    total = 0
    while batch := list(islice(remaining, BATCH)):
        for pair, outcome in zip(batch, pair_tokenizer(batch), strict=True):
            if isinstance(outcome, Dropped):
                counts.kept -= 1
                counts.drop(outcome.reason, pair.where)
            else:
                builder.add(outcome.pair, outcome.end)
                counts.notes.update(outcome.notes)
        total += len(batch)
        if progress is not None:
            progress(len(batch))
    result = builder.build()
    if total and not len(result):
        raise DataError(
            f"none of {total} pairs is left after tokenising: {_account(counts)}",
            hint="The reasons say what to change; often it is data.max_length or data.template.",
        )
    return result


def _closed(ids: list[int], end: int) -> list[int]:
    """`ids` with exactly one `end` after them."""
    size = len(ids)
    while size and ids[size - 1] == end:
        size -= 1
    return [*ids[:size], end]


def _account(counts: RowCounts) -> str:
    return "; ".join(
        f"{reason}: {number} (first: {counts.examples[reason]})"
        for reason, number in counts.dropped.most_common()
    )
