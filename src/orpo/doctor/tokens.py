"""What a model's tokenizer and chat template make of pairs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from orpo.data.pairs import Pair, TokenizedPair
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


def tokenize_each(pairs: Sequence[Pair], tokenizer: PairTokenizer) -> list[Outcome]:
    """The outcome of every pair, where training would stop at the first that breaks the template.

    Raises:
        ConfigError: see `PairTokenizer.__call__`.
    """
    outcomes: list[Outcome] = []
    for batch in batched(pairs, SHARD_SIZE):
        try:
            outcomes += tokenizer(batch)
        except DataError:
            outcomes += [_tokenize_one(pair, tokenizer) for pair in batch]
    return outcomes


def _tokenize_one(pair: Pair, tokenizer: PairTokenizer) -> Outcome:
    try:
        return tokenizer([pair])[0]
    except DataError as error:
        return TemplateFault(error.message)


def usable(outcomes: Sequence[Outcome]) -> list[TokenizedPair]:
    """The pairs that became tokens."""
    return [outcome.pair for outcome in outcomes if isinstance(outcome, Tokenized)]


def token_lengths(pairs: Sequence[TokenizedPair]) -> PairLengths:
    """(N, 3) tokens of prompt, chosen and rejected response."""
    rows = [(len(pair.prompt), len(pair.chosen), len(pair.rejected)) for pair in pairs]
    return np.array(rows, dtype=np.int64).reshape(-1, 3)


def template_faults(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs for which the template breaks the rules."""
    return [
        example(pair.where, outcome.message.removeprefix(f"{pair.where}: "))
        for pair, outcome in zip(pairs, outcomes, strict=True)
        if isinstance(outcome, TemplateFault)
    ]


def dropped_as_tokens(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs that cannot be used once they are tokens."""
    return [
        example(pair.where, outcome.reason)
        for pair, outcome in zip(pairs, outcomes, strict=True)
        if isinstance(outcome, Dropped)
    ]


def system_swallowed(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs whose system turn is not in the rendered prompt."""
    return [
        example(pair.where, next(turn.content for turn in pair.prompt if turn.role == "system"))
        for pair, outcome in _tokenized(pairs, outcomes)
        if SYSTEM_LEFT_OUT in outcome.notes and not isinstance(pair.prompt, str)
    ]


def ends_within(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> list[Example]:
    """Pairs with a response in which the token that ends it occurs before its end."""
    return [
        example(pair.where, pair.chosen)
        for pair, outcome in _tokenized(pairs, outcomes)
        if END_INSIDE in outcome.notes
    ]


def double_bos(
    pairs: Sequence[Pair], outcomes: Sequence[Outcome], tokenizer: PreTrainedTokenizerBase
) -> list[Example]:
    """Pairs with BOS at the start and again: at once, or where their text spells it.

    A template that writes BOS before each turn is no such pair.
    """
    bos, spelled = tokenizer.bos_token_id, tokenizer.bos_token
    if bos is None or not isinstance(spelled, str):
        return []
    hits: list[Example] = []
    for pair, outcome in _tokenized(pairs, outcomes):
        ids = outcome.pair.prompt + outcome.pair.chosen
        is_spelled = ids[0] == bos and any(spelled in text for text in texts(pair))
        if ids[:2] == (bos, bos) or is_spelled:
            hits.append(example(pair.where, f"token ids {', '.join(map(str, ids[:6]))} …"))
    return hits


def unclosed(
    pairs: Sequence[Pair],
    outcomes: Sequence[Outcome],
    renderer: Renderer,
    tokenizer: PreTrainedTokenizerBase,
) -> list[Example]:
    """Conversations whose template writes no special token after the response; the first one tells of all."""
    conversations = [pair for pair, _ in _tokenized(pairs, outcomes) if not isinstance(pair.prompt, str)]
    if not conversations:
        return []
    rendering = renderer.example(conversations[0])
    assert isinstance(rendering, Rendering), "it was tokenised"
    if rendering.branches[0].endswith(tuple(added_tokens(tokenizer))):
        return []
    return [example(pair.where, f"ends with: {pair.chosen[-60:]}") for pair in conversations]


def _tokenized(pairs: Sequence[Pair], outcomes: Sequence[Outcome]) -> Iterator[tuple[Pair, Tokenized]]:
    for pair, outcome in zip(pairs, outcomes, strict=True):
        if isinstance(outcome, Tokenized):
            yield pair, outcome
