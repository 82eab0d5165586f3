"""From tokenised pairs to a micro-batch in one of the layouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from orpo.batch import Block, Layout, MicroBatch, PackedAttention, Totals
from orpo.data.pairs import TokenizedPair


def batch_totals(pairs: Iterable[TokenizedPair]) -> Totals:
    """The divisors of a global batch: its pairs, and its scored tokens by segment."""
    pairs = list(pairs)
    return Totals(
        pairs=len(pairs),
        prompt_tokens=sum(len(pair.prompt) - 1 for pair in pairs),
        chosen_tokens=sum(len(pair.chosen) for pair in pairs),
    )


@dataclass(frozen=True)
class _Placed:
    """Where a pair's tokens lie in the flattened rows.

    The last token of a branch's prompt predicts the first token of its response; the two need not be
    adjacent.
    """

    prompt: int
    """Start of the prompt before the chosen response."""

    rejected_prompt: int
    """Start of the prompt before the rejected response: the same one where it is shared."""

    chosen: int
    rejected: int
    """Starts of the responses."""


def collate(
    pairs: Sequence[TokenizedPair],
    layout: Layout,
    *,
    pad_id: int,
    score_prompt: bool,
    weight: float = 1.0,
) -> MicroBatch:
    """Lay pairs out for the model.

    Args:
        pairs: B pairs, each with at least one token in prompt and responses.
        layout: how.
        pad_id: fills padded rows: any id of the vocabulary, since padding is never looked at or scored.
        score_prompt: score the prompt's tokens after the first too, once per pair.
        weight: weight of every pair, see `MicroBatchPlan`.
    """
    if layout is Layout.PADDED:
        input_ids, attention, places = _pad(pairs, pad_id)
    else:
        input_ids, attention, places = _pack(pairs, shared=layout is Layout.SHARED)

    size = len(pairs)
    rows: list[torch.Tensor] = []
    targets: list[int] = []
    segments: list[torch.Tensor] = []
    counts = torch.zeros((3, size))
    offsets = [0]

    def score(kind: int, pair: int, before: int, start: int, tokens: Sequence[int]) -> None:
        """Score `tokens`, which start at `start`, and the first of them by the state at `before`."""
        rows.append(torch.tensor([before]))
        rows.append(torch.arange(start, start + len(tokens) - 1))
        targets.extend(tokens)
        segments.append(torch.full((len(tokens),), kind * size + pair))
        counts[kind, pair] = len(tokens)

    for i, (pair, at) in enumerate(zip(pairs, places, strict=True)):
        end = len(pair.prompt) - 1
        score(0, i, at.prompt + end, at.chosen, pair.chosen)
        score(1, i, at.rejected_prompt + end, at.rejected, pair.rejected)
        if score_prompt and end:
            score(2, i, at.prompt, at.prompt + 1, pair.prompt[1:])
        offsets.append(len(targets))

    return MicroBatch(
        input_ids=input_ids,
        attention=attention,
        rows=torch.cat(rows),
        targets=torch.tensor(targets),
        segments=torch.cat(segments),
        counts=counts,
        weight=torch.full((size,), weight),
        offsets=tuple(offsets),
    )


Laid = tuple[torch.Tensor, PackedAttention | None, Iterator[_Placed]]


def _pad(pairs: Sequence[TokenizedPair], pad_id: int) -> Laid:
    """Rows 0..B-1 are prompt + chosen, rows B..2B-1 are prompt + rejected, padded at the end."""
    size = len(pairs)
    rows = [pair.prompt + pair.chosen for pair in pairs] + [pair.prompt + pair.rejected for pair in pairs]
    width = max(len(row) for row in rows)
    input_ids = torch.full((2 * size, width), pad_id)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = torch.tensor(row)
    places = (
        _Placed(
            prompt=i * width,
            rejected_prompt=(size + i) * width,
            chosen=i * width + len(pair.prompt),
            rejected=(size + i) * width + len(pair.prompt),
        )
        for i, pair in enumerate(pairs)
    )
    return input_ids, None, places


def _pack(pairs: Sequence[TokenizedPair], *, shared: bool) -> Laid:
    """One row of all pairs, with or without a second copy of each prompt."""
    ids: list[int] = []
    blocks: list[Block] = []
    places: list[_Placed] = []
    for pair in pairs:
        prompt, start = len(pair.prompt), len(ids)
        ids += pair.prompt + pair.chosen
        rejected = rejected_prompt = len(ids)
        blocks.append(Block(start, rejected - start))
        if shared:
            rejected_prompt = start
            blocks.append(Block(rejected, len(pair.rejected), start, prompt))
        else:
            ids += pair.prompt
            blocks.append(Block(rejected, prompt + len(pair.rejected)))
            rejected += prompt
        ids += pair.rejected
        places.append(_Placed(start, rejected_prompt, start + prompt, rejected))
    return torch.tensor([ids]), PackedAttention.of(blocks), iter(places)
