"""From tokenised pairs to a padded micro-batch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from orpo.batch import PaddedBatch, Totals
from orpo.data.pairs import TokenizedPair


def batch_totals(pairs: Iterable[TokenizedPair]) -> Totals:
    """The divisors of a global batch: its pairs, and its scored tokens by segment."""
    pairs = list(pairs)
    return Totals(
        pairs=len(pairs),
        prompt_tokens=sum(len(pair.prompt) - 1 for pair in pairs),
        chosen_tokens=sum(len(pair.chosen) for pair in pairs),
    )


def pad_batch(
    pairs: Sequence[TokenizedPair], *, pad_id: int, score_prompt: bool, weight: float = 1.0
) -> PaddedBatch:
    """Lay pairs out as rows: all prompt + chosen, then all prompt + rejected, padded at the end.

    Args:
        pairs: B pairs, each with at least one token in prompt and responses.
        pad_id: any id of the vocabulary; padding is never looked at and never scored.
        score_prompt: score the prompt's tokens after the first too, once per pair, on the chosen row.
        weight: weight of every pair, see `MicroBatchPlan`.
    """
    size = len(pairs)
    rows = [pair.prompt + pair.chosen for pair in pairs] + [pair.prompt + pair.rejected for pair in pairs]
    width = max(len(row) for row in rows)
    input_ids = torch.full((2 * size, width), pad_id)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = torch.tensor(row)

    positions: list[torch.Tensor] = []
    segments: list[torch.Tensor] = []
    counts = torch.zeros((3, size))

    def score(kind: int, pair: int, row: int, first: int, last: int) -> None:
        """Score tokens first..last-1 of a row: each by the position before it."""
        positions.append(torch.arange(first - 1, last - 1) + row * width)
        segments.append(torch.full((last - first,), kind * size + pair))
        counts[kind, pair] = last - first

    for i, pair in enumerate(pairs):
        start = len(pair.prompt)
        score(0, i, i, start, start + len(pair.chosen))
        score(1, i, size + i, start, start + len(pair.rejected))
        if score_prompt:
            score(2, i, i, 1, start)

    flat = torch.cat(positions)
    return PaddedBatch(
        input_ids=input_ids,
        positions=flat,
        targets=input_ids.flatten()[flat + 1],
        segments=torch.cat(segments),
        counts=counts,
        weight=torch.full((size,), weight),
    )
