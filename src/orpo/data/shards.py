"""From examples to shards of tokens, every example accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from orpo.data.holdout import prompt_key
from orpo.data.pairs import Example, RowCounts, responses_of
from orpo.data.rendering import Dropped
from orpo.data.tokenized import Shard, ShardBuilder, TokenizedPairs
from orpo.data.tokens import PairTokenizer
from orpo.errors import DataError

T = TypeVar("T")

SHARD_SIZE = 1000
"""Most examples of a shard: enough for the tokenizer's threads, little enough to be done with soon."""

SHARD_CHARACTERS = 1_000_000
"""Characters with which a shard is full: encodings of long texts take memory."""


@dataclass(frozen=True)
class TokenizedShard:
    """What some examples became."""

    shard: Shard

    stop_ids: tuple[int, ...]
    """The tokens that end their responses."""

    counts: RowCounts
    """What became of each example."""


def tokenize_shard(examples: Sequence[Example], tokenizer: PairTokenizer) -> TokenizedShard:
    """Tokenise examples together.

    Raises:
        DataError, ConfigError: see `PairTokenizer.__call__`.
    """
    builder = ShardBuilder()
    counts = RowCounts(read=len(examples))
    for example, outcome in zip(examples, tokenizer(examples), strict=True):
        if isinstance(outcome, Dropped):
            counts.drop(outcome.reason, example.where)
        else:
            counts.kept += 1
            counts.notes.update(outcome.notes)
            builder.add(outcome.pair, outcome.end, prompt_key(example.prompt))
    return TokenizedShard(builder.build(), tuple(sorted(builder.stop_ids)), counts)


def tokenize_examples(
    examples: Iterable[Example],
    tokenizer: PairTokenizer,
    counts: RowCounts,
    progress: Callable[[int], None] | None = None,
) -> TokenizedPairs:
    """Tokenise examples in memory.

    Args:
        examples: what readers kept.
        tokenizer: what makes tokens of them.
        counts: what becomes of each is added.
        progress: called after each shard with the number of examples it had.

    Raises:
        DataError: nothing is left of what is given, or see `PairTokenizer.__call__`.
        ConfigError: see `PairTokenizer.__call__`.
    """
    done: list[TokenizedShard] = []
    for batch in cut_into_shards(examples):
        done.append(tokenize_shard(batch, tokenizer))
        counts.include(done[-1].counts)
        if progress is not None:
            progress(len(batch))
    require_something(counts)
    stop_ids = [stop for one in done for stop in one.stop_ids]
    return TokenizedPairs.of([one.shard for one in done], stop_ids)


def batched(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items, `size` at a time."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch


def cut_into_shards(examples: Iterable[Example]) -> Iterator[list[Example]]:
    """The examples of one shard after the other; the cuts depend on nothing but the examples."""
    shard: list[Example] = []
    characters = 0
    for example in examples:
        shard.append(example)
        characters += _characters(example)
        if len(shard) == SHARD_SIZE or characters >= SHARD_CHARACTERS:
            yield shard
            shard, characters = [], 0
    if shard:
        yield shard


def _characters(example: Example) -> int:
    prompt = example.prompt
    context = len(prompt) if isinstance(prompt, str) else sum(len(turn.content) for turn in prompt)
    return context + sum(map(len, responses_of(example)))


def require_something(counts: RowCounts) -> None:
    """Refuse to go on without a single example.

    Raises:
        DataError: there were examples, and none is left.
    """
    if counts.read and not counts.kept:
        reasons = "; ".join(
            f"{reason}: {number} (first: {counts.examples[reason]})"
            for reason, number in counts.dropped.most_common()
        )
        raise DataError(
            f"none of {counts.read} pairs is left after tokenising: {reasons}",
            hint="The reasons say what to change; often it is data.max_length or data.template.",
        )
