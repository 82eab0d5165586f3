"""What a model's tokenizer and chat template make of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orpo.data.pairs import Pair, Single, TokenizedPair, responses_of
from orpo.data.rendering import SYSTEM_LEFT_OUT, Dropped, Renderer, Rendering
from orpo.data.shards import SHARD_SIZE, batched
from orpo.data.specials import added_tokens
from orpo.data.tokens import END_INSIDE, PairTokenizer, Tokenized
from orpo.doctor.findings import Example, Problem, Severity, example
from orpo.doctor.lengths import PairLengths
from orpo.doctor.words import texts
from orpo.errors import DataError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

TEMPLATE_FAULT = Problem(
    "template_not_prefix_stable",
    Severity.FATAL,
    "the chat template does not write a conversation as its prompt followed by the response",
    "Name another template in `data.template`, or mend this one: it must write the generation prompt exactly "
    "as it starts the assistant's turn, and the turn's content once.",
)
DROPPED_AS_TOKENS = Problem(
    "dropped_as_tokens",
    Severity.WARNING,
    "pairs are dropped when they become tokens",
    "The examples give the reason of each. `refused by the chat template` is often a system turn or an order "
    "of roles that it does not know: merge the system turn into the user's, or name another template.",
)
SYSTEM_SWALLOWED = Problem(
    "system_turn_swallowed",
    Severity.WARNING,
    "the chat template leaves out the system turn",
    "The model never sees these instructions. Merge them into the first user turn, or name another template.",
)
DOUBLE_BOS = Problem(
    "double_bos",
    Severity.WARNING,
    "the sequence begins with BOS twice",
    "Remove BOS from the text: tokenizer and template write their own.",
)
END_WITHIN = Problem(
    "end_of_turn_within_response",
    Severity.WARNING,
    "a response contains the token that ends it",
    "What follows it is trained on and never generated. Remove the token from the text, or split the "
    "response into turns.",
)
UNCLOSED = Problem(
    "template_without_end_of_turn",
    Severity.WARNING,
    "the chat template writes no end-of-turn token after the response",
    "EOS is put in its place, so the aligned model stops at EOS only. Make sure that whatever serves it "
    "does, too, or name a template that closes turns.",
)


@dataclass(frozen=True)
class TemplateFault:
    """A pair for which the template breaks the rules."""

    message: str


Outcome = Tokenized | Dropped | TemplateFault


def tokenize_each(items: Sequence[Pair | Single], tokenizer: PairTokenizer) -> list[Outcome]:
    """The outcome of every item, where training would stop at the first that breaks the template.

    Raises:
        ConfigError: see `PairTokenizer.__call__`.
    """
    outcomes: list[Outcome] = []
    for batch in batched(items, SHARD_SIZE):
        try:
            outcomes += tokenizer(batch)
        except DataError:
            outcomes += [_tokenize_one(item, tokenizer) for item in batch]
    return outcomes


def _tokenize_one(item: Pair | Single, tokenizer: PairTokenizer) -> Outcome:
    try:
        return tokenizer([item])[0]
    except DataError as error:
        return TemplateFault(error.message)


def usable(outcomes: Sequence[Outcome]) -> list[TokenizedPair]:
    """The pairs that became tokens."""
    return [outcome.pair for outcome in outcomes if isinstance(outcome, Tokenized)]


def token_lengths(pairs: Sequence[TokenizedPair]) -> PairLengths:
    """(N, 3) tokens of prompt, chosen and rejected response."""
    rows = [(len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def template_faults(items: Sequence[Pair | Single], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs for which the template breaks the rules."""
    return [
        example(item.where, outcome.message.removeprefix(f"{item.where}: "))
        for item, outcome in zip(items, outcomes, strict=True)
        if isinstance(outcome, TemplateFault)
    ]


def dropped_as_tokens(items: Sequence[Pair | Single], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs that cannot be used once they are tokens."""
    return [
        example(item.where, outcome.reason)
        for item, outcome in zip(items, outcomes, strict=True)
        if isinstance(outcome, Dropped)
    ]


def system_swallowed(items: Sequence[Pair | Single], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs whose system turn is not in the rendered prompt."""
    return [
        example(item.where, next(turn.content for turn in item.prompt if turn.role == "system"))
        for item, outcome in _tokenized(items, outcomes)
        if SYSTEM_LEFT_OUT in outcome.notes and not isinstance(item.prompt, str)
    ]


def ends_within(items: Sequence[Pair | Single], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs with a response in which the token that ends it occurs before its end."""
    return [
        example(item.where, responses_of(item)[0])
        for item, outcome in _tokenized(items, outcomes)
        if END_INSIDE in outcome.notes
    ]


def double_bos(
    items: Sequence[Pair | Single], outcomes: Sequence[Outcome], tokenizer: PreTrainedTokenizerBase
) -> list[Example]:
    """Pairs with BOS at the start and again: at once, or where their text spells it.

    A template that writes BOS before each turn is no such item.
    """
    bos, spelled = tokenizer.bos_token_id, tokenizer.bos_token
    if bos is None or not isinstance(spelled, str):
        return []
    hits: list[Example] = []
    for item, outcome in _tokenized(items, outcomes):
        ids = outcome.pair.prompt + outcome.pair.chosen
        is_spelled = ids[0] == bos and any(spelled in text for text in texts(item))
        if ids[:2] == (bos, bos) or is_spelled:
            hits.append(example(item.where, f"token ids {', '.join(map(str, ids[:6]))} …"))
    return hits


def unclosed(
    items: Sequence[Pair | Single],
    outcomes: Sequence[Outcome],
    renderer: Renderer,
    tokenizer: PreTrainedTokenizerBase,
) -> list[Example]:
    """Conversations whose template writes no special token after the response; the first one tells of all."""
    conversations = [item for item, _ in _tokenized(items, outcomes) if not isinstance(item.prompt, str)]
    if not conversations:
        return []
    rendering = renderer.example(conversations[0])
    assert isinstance(rendering, Rendering), "it was tokenised"
    if rendering.branches[0].endswith(tuple(added_tokens(tokenizer))):
        return []
    return [example(item.where, f"ends with: {responses_of(item)[0][-60:]}") for item in conversations]


def _tokenized(
    items: Sequence[Pair | Single], outcomes: Sequence[Outcome]
) -> Iterator[tuple[Pair | Single, Tokenized]]:
    for item, outcome in zip(items, outcomes, strict=True):
        if isinstance(outcome, Tokenized):
            yield item, outcome
