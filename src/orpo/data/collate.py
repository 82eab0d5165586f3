"""From tokenised pairs to a micro-batch in one of the layouts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch

from orpo.batch import Block, Layout, MicroBatch, PackedAttention, PromptTokens, Totals
from orpo.data.batching import Lengths, MicroBatchPlan, split_batch
from orpo.data.pairs import Span, TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.ops.distributed import World


def batch_totals(pairs: Iterable[TokenizedPair], prompt_tokens: PromptTokens) -> Totals:
    """The divisors of a global batch: its pairs, and its scored tokens by segment.

    Args:
        pairs: all of them, over all ranks.
        prompt_tokens: the tokens of the prompts that are scored.
    """
    pairs = list(pairs)
    answered = [pair for pair in pairs if pair.chosen]
    return Totals(
        pairs=sum(pair.weight for pair in answered if pair.rejected),
        answered=sum(pair.weight for pair in answered),
        prompt_tokens=sum(
            pair.weight * (end - start)
            for pair in answered
            for start, end in _scored_of_prompt(pair, prompt_tokens)
        ),
        chosen_tokens=sum(pair.weight * len(pair.chosen) for pair in answered),
        responses=sum(pair.weight * (bool(pair.chosen) + bool(pair.rejected)) for pair in pairs),
        tokens=sum(
            pair.weight * (len(pair.prompt) + len(response))
            for pair in pairs
            for response in (pair.chosen, pair.rejected)
            if response
        ),
    )


def _scored_of_prompt(pair: TokenizedPair, which: PromptTokens) -> tuple[Span, ...]:
    """Spans of the prompt whose tokens are scored; nothing predicts its first token."""
    match which:
        case PromptTokens.NONE:
            return ()
        case PromptTokens.ALL:
            return ((1, len(pair.prompt)),)
        case PromptTokens.ANSWERS:
            return tuple((max(start, 1), end) for start, end in pair.answers)


def _references(pairs: Sequence[TokenizedPair]) -> torch.Tensor | None:
    """(2, B) scores under the reference model, if the pairs have them."""
    found = [pair.reference for pair in pairs if pair.reference is not None]
    return torch.tensor(found).T if len(found) == len(pairs) else None


@dataclass(frozen=True)
class _Placed:
    """Where a pair's tokens lie in the flattened rows; of a missing response, nowhere.

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
    prompt_tokens: PromptTokens,
    weight: float = 1.0,
) -> MicroBatch:
    """Lay pairs out for the model.

    Args:
        pairs: B pairs, each with at least one token in the prompt and in one of the responses.
        layout: how.
        pad_id: fills padded rows: any id of the vocabulary, since padding is never looked at or scored.
        prompt_tokens: tokens of the prompts to score too, once per pair that has a chosen response.
        weight: multiplies the weight of every pair, see `MicroBatchPlan`.
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
    ends = torch.zeros((2, size), dtype=torch.int64)
    presence = torch.zeros(input_ids.numel())
    offsets = [0]

    def score(kind: int, pair: int, before: int, start: int, tokens: Sequence[int]) -> None:
        """Score `tokens`, which start at `start`, and the first of them by the state at `before`."""
        if not tokens:
            return
        rows.append(torch.tensor([before]))
        rows.append(torch.arange(start, start + len(tokens) - 1))
        targets.extend(tokens)
        segments.append(torch.full((len(tokens),), kind * size + pair))
        counts[kind, pair] += len(tokens)

    for i, (pair, at) in enumerate(zip(pairs, places, strict=True)):
        end = len(pair.prompt) - 1
        score(0, i, at.prompt + end, at.chosen, pair.chosen)
        score(1, i, at.rejected_prompt + end, at.rejected, pair.rejected)
        branches = (at.prompt, at.chosen, pair.chosen), (at.rejected_prompt, at.rejected, pair.rejected)
        for kind, (prompt, start, response) in enumerate(branches):
            if response:
                ends[kind, i] = start + len(response) - 1
                presence[prompt : prompt + len(pair.prompt)] += weight * pair.weight
                presence[start : start + len(response)] += weight * pair.weight
        if pair.chosen:
            for first, last in _scored_of_prompt(pair, prompt_tokens):
                score(2, i, at.prompt + first - 1, at.prompt + first, pair.prompt[first:last])
        offsets.append(len(targets))

    return MicroBatch(
        input_ids=input_ids,
        attention=attention,
        rows=torch.cat(rows),
        targets=torch.tensor(targets),
        segments=torch.cat(segments),
        counts=counts,
        weight=torch.tensor([weight * pair.weight for pair in pairs]),
        margin=torch.tensor([pair.margin for pair in pairs]),
        ends=ends,
        presence=presence,
        offsets=tuple(offsets),
        reference=_references(pairs),
    )


def micro_batches(
    pairs: Sequence[TokenizedPair] | TokenizedPairs,
    lengths: Lengths,
    layout: Layout,
    *,
    pad_id: int,
    prompt_tokens: PromptTokens,
    max_tokens: int,
    world: World,
) -> Iterator[tuple[MicroBatchPlan, MicroBatch]]:
    """This process's share of a batch, laid out, as many micro-batches on every rank.

    Args:
        pairs: the batch, the same on every rank.
        lengths: (n, 3) tokens of its segments.
        layout: see `collate`.
        pad_id: see `collate`.
        prompt_tokens: see `collate`.
        max_tokens: see `split_batch`.
        world: this process among its peers.
    """
    plans = split_batch(lengths, layout=layout, world_size=world.size, max_tokens=max_tokens)
    for plan in plans[world.rank]:
        chosen = [pairs[i] for i in plan.indices]
        yield plan, collate(chosen, layout, pad_id=pad_id, prompt_tokens=prompt_tokens, weight=plan.weight)


Laid = tuple[torch.Tensor, PackedAttention | None, Iterator[_Placed]]


def _pad(pairs: Sequence[TokenizedPair], pad_id: int) -> Laid:
    """A row for each prompt + chosen, then one for each prompt + rejected, padded at the end."""
    chosen = [i for i, pair in enumerate(pairs) if pair.chosen]
    rejected = [i for i, pair in enumerate(pairs) if pair.rejected]
    rows = [pairs[i].prompt + pairs[i].chosen for i in chosen]
    rows += [pairs[i].prompt + pairs[i].rejected for i in rejected]
    width = max(len(row) for row in rows)
    input_ids = torch.full((len(rows), width), pad_id)
    for i, row in enumerate(rows):
        input_ids[i, : len(row)] = torch.tensor(row)
    starts = {pair: row * width for row, pair in enumerate(chosen)}
    rejected_starts = {pair: (len(chosen) + row) * width for row, pair in enumerate(rejected)}
    places = (
        _Placed(
            prompt=starts.get(i, -1),
            rejected_prompt=rejected_starts.get(i, -1),
            chosen=starts.get(i, -1) + len(pair.prompt),
            rejected=rejected_starts.get(i, -1) + len(pair.prompt),
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
        ids += pair.prompt + (pair.chosen or pair.rejected)
        blocks.append(Block(start, len(ids) - start))
        rejected, rejected_prompt = start + prompt, start
        if pair.chosen and pair.rejected:
            rejected = len(ids)
            if shared:
                blocks.append(Block(rejected, len(pair.rejected), start, prompt))
            else:
                blocks.append(Block(rejected, prompt + len(pair.rejected)))
                ids += pair.prompt
                rejected_prompt, rejected = rejected, len(ids)
            ids += pair.rejected
        places.append(_Placed(start, rejected_prompt, start + prompt, rejected))
    return torch.tensor([ids]), PackedAttention.of(blocks), iter(places)
