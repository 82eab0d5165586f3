"""The nouns that travel between data, model and objective.

Shape legend, used in names and comments everywhere:

    B   pairs in a micro-batch
    R   rows that the model is given: 1 in the packed layouts, one per response in the padded one
    T   tokens in a row, padding included
    N   scored tokens
    V   vocabulary
    D   hidden size

A *segment* is the prompt, the chosen response or the rejected response of one pair; a *score* is the sum
of a segment's token log-probabilities, with the number of tokens summed.  A pair may lack one of its
responses: its segment then has no tokens.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, fields, replace
from enum import StrEnum
from itertools import accumulate, chain
from typing import Any

import torch
from torch import Tensor


class Layout(StrEnum):
    """How the tokens of a micro-batch are given to the model.  All give the same scores."""

    SHARED = "shared"
    """One row without padding, [prompt | chosen | rejected] per pair: each prompt is computed once."""

    PACKED = "packed"
    """One row without padding, [prompt | chosen] [prompt | rejected] per pair."""

    PADDED = "padded"
    """A right-padded row per branch, which any causal model understands."""


class PromptTokens(StrEnum):
    """Tokens of the prompt that an objective needs the log-probabilities of."""

    NONE = "none"

    ANSWERS = "answers"
    """The assistant's earlier turns, each with the token that ends it."""

    ALL = "all"
    """All after the first, which nothing predicts."""


class Rows(StrEnum):
    """The rows that an objective learns from."""

    ANSWERED = "answered"
    """Pairs, and single chosen responses."""

    CHOSEN = "chosen"
    """Chosen responses alone; rejected ones are looked at in evaluation only."""

    PAIRS = "pairs"

    RESPONSES = "responses"
    """Responses one by one, chosen or rejected; a pair is two rows."""


@dataclass(frozen=True)
class Block:
    """Adjacent queries of a packed row; each sees the block's prefix and the block up to itself."""

    start: int
    """Position of the first query in the row."""

    length: int

    prefix_start: int = 0
    prefix_length: int = 0
    """Keys before the block's own: the prompt that a rejected response shares, or none."""

    @property
    def key_length(self) -> int:
        """Keys that the block's last query sees."""
        return self.prefix_length + self.length


@dataclass(frozen=True)
class PackedAttention:
    """Which keys each query of a packed row sees: the one description that every attention backend reads.

    The blocks cover the row in order.  In the coordinates of a block's keys (prefix, then the block) the
    attention is causal with the last query on the last key, and key j stands j tokens after the first one of
    its text, so sliding windows are exact.
    """

    blocks: tuple[Block, ...]

    query_offsets: Tensor
    """(K + 1,) int32, where the queries of each of the K blocks start, and the row's length."""

    key_offsets: Tensor
    """(K + 1,) int32, where the keys of each block start in `key_index`, and its length."""

    key_index: Tensor
    """(sum of the blocks' key lengths,) int64, row positions of the keys of each block."""

    position_ids: Tensor
    """(1, T) int64, position of each token in its text: a rejected response goes on from its prompt."""

    derived: dict[Hashable, Any] = field(default_factory=dict, compare=False)
    """What backends derive once per micro-batch and use in every layer, such as masks."""

    @classmethod
    def of(cls, blocks: Sequence[Block]) -> PackedAttention:
        """The description of a row made of `blocks`."""
        ranges = chain.from_iterable(
            (
                torch.arange(block.prefix_start, block.prefix_start + block.prefix_length),
                torch.arange(block.start, block.start + block.length),
            )
            for block in blocks
        )
        return cls(
            blocks=tuple(blocks),
            query_offsets=torch.tensor([0, *accumulate(b.length for b in blocks)], dtype=torch.int32),
            key_offsets=torch.tensor([0, *accumulate(b.key_length for b in blocks)], dtype=torch.int32),
            key_index=torch.cat(list(ranges)),
            position_ids=torch.cat([torch.arange(b.prefix_length, b.key_length) for b in blocks])[None],
        )

    @property
    def max_query_length(self) -> int:
        """Queries of the longest block."""
        return max(block.length for block in self.blocks)

    @property
    def max_key_length(self) -> int:
        """Keys of the block that sees most."""
        return max(block.key_length for block in self.blocks)

    def to(self, device: torch.device) -> PackedAttention:
        """The same description on `device`."""
        return PackedAttention(
            blocks=self.blocks,
            query_offsets=_move(self.query_offsets, device),
            key_offsets=_move(self.key_offsets, device),
            key_index=_move(self.key_index, device),
            position_ids=_move(self.position_ids, device),
        )


@dataclass(frozen=True)
class MicroBatch:
    """The pairs of one forward pass, laid out for the model.

    A token is scored by the state of the position before it in its branch, so the N scored tokens are named
    by rows of the (R * T, D) hidden states.  There is no attention mask: padding comes after every real
    token, which causal attention never looks at, and packed rows have `attention`.
    """

    input_ids: Tensor
    """(R, T) int64."""

    attention: PackedAttention | None
    """What sees what in a packed row; None in the padded layout."""

    rows: Tensor
    """(N,) int64, rows of the flattened hidden states that predict the scored tokens."""

    targets: Tensor
    """(N,) int64, ids of the scored tokens."""

    segments: Tensor
    """(N,) int64, segment of each scored token: b chosen, B + b rejected, 2B + b prompt of pair b."""

    counts: Tensor
    """(3, B) float32, scored tokens of the chosen, rejected and prompt segments."""

    weight: Tensor
    """(B,) float32, the pair's weight in every mean. 0 on the stand-in of a rank that has no pairs."""

    margin: Tensor
    """(B,) float32, by how much a reward model is to prefer the pair's chosen response."""

    ends: Tensor
    """(2, B) int64, rows of the last tokens of the chosen and rejected responses; 0 for a missing one."""

    presence: Tensor
    """(R * T,) float32, the branches that each token is in, times its pair's weight: a prompt that is there
    once is in two.  0 of padding."""

    offsets: tuple[int, ...]
    """B + 1 places in 0..N: where each pair's scored tokens start, and N. They are adjacent."""

    reference: Tensor | None = None
    """(2, B) float32, log-probabilities of the chosen and rejected responses under the reference model."""

    def to(self, device: torch.device) -> MicroBatch:
        """The same micro-batch on `device`; the copy does not hold the host up."""
        tensors = {
            item.name: _move(value, device)
            for item in fields(self)
            if isinstance(value := getattr(self, item.name), Tensor)
        }
        attention = self.attention.to(device) if self.attention is not None else None
        return replace(self, attention=attention, **tensors)

    def scoring(self, first: int, last: int) -> MicroBatch:
        """The same rows, of which the pairs first..last-1 are scored."""
        size, number = len(self.weight), last - first
        tokens = slice(self.offsets[first], self.offsets[last])
        segments = self.segments[tokens]
        kinds = segments.div(size, rounding_mode="floor")
        return replace(
            self,
            rows=self.rows[tokens],
            targets=self.targets[tokens],
            segments=kinds * number + segments - kinds * size - first,
            counts=self.counts[:, first:last],
            weight=self.weight[first:last],
            margin=self.margin[first:last],
            ends=self.ends[:, first:last],
            offsets=tuple(offset - self.offsets[first] for offset in self.offsets[first : last + 1]),
            reference=None if self.reference is None else self.reference[:, first:last],
        )


def _move(tensor: Tensor, device: torch.device) -> Tensor:
    """`tensor` on `device`; only from pinned memory does a copy to a GPU not wait."""
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


@dataclass(frozen=True)
class Scores:
    """Sums of token log-probabilities and their counts, (B,) float32 each (float64 for a float64 model).

    Sum and count of a response that is missing are 0, and its mean is too.
    """

    chosen: Tensor
    rejected: Tensor
    prompt: Tensor
    chosen_count: Tensor
    rejected_count: Tensor
    prompt_count: Tensor
    weight: Tensor
    margin: Tensor

    reference: Tensor | None = None
    """(2, B), the sums of `chosen` and `rejected` under the reference model, where there is one."""

    values: Tensor | None = None
    """(2, B), a reward model's values of the chosen and rejected responses.  It predicts no tokens, so that
    the sums are 0."""

    @property
    def chosen_mean(self) -> Tensor:
        """a(y_w|x), (B,): length-averaged log-probability of the chosen response (paper, Eq. 3)."""
        return self.chosen / self.chosen_count.clamp(min=1)

    @property
    def rejected_mean(self) -> Tensor:
        """a(y_l|x), (B,): length-averaged log-probability of the rejected response (paper, Eq. 3)."""
        return self.rejected / self.rejected_count.clamp(min=1)

    @property
    def answered_weight(self) -> Tensor:
        """(B,) the pair's weight where it has a chosen response, else 0."""
        return self.weight * (self.chosen_count > 0)

    @property
    def rejected_weight(self) -> Tensor:
        """(B,) the pair's weight where it has a rejected response, else 0."""
        return self.weight * (self.rejected_count > 0)

    @property
    def pair_weight(self) -> Tensor:
        """(B,) the pair's weight where it has both responses, else 0."""
        return self.answered_weight * (self.rejected_count > 0)


@dataclass(frozen=True)
class Totals:
    """What an objective knows of the whole global batch, over all ranks: above all, what to divide by.

    Counts are sums over the batch's pairs, each times its weight.
    """

    pairs: float
    """Pairs that have both responses."""

    answered: float
    """Pairs that have a chosen response."""

    prompt_tokens: float
    """Scored prompt tokens of the pairs that have a chosen response."""

    chosen_tokens: float
    """Tokens of the chosen responses."""

    responses: float
    """Responses: two of each pair that has both."""

    tokens: float = 0.0
    """Tokens of all branches: those of a prompt for each of its responses."""

    divergence: Tensor | float = 0.0
    """KTO's z0, without gradient; 0 for objectives that do not ask for it."""

    expert_load: Tensor | None = None
    """(E,) how often the tokens are routed to each expert of a mixture of experts, summed over its layers;
    None of other models, and where it is not known beforehand."""
