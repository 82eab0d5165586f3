"""Global batches do not depend on the hardware, and their micro-batches are what they are made of."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from orpo.batch import Layout, MicroBatch, PromptTokens
from orpo.data.batching import lengths_of, tokens_held
from orpo.ops.distributed import World
from orpo.training.batches import Batches
from tests.loops import ALONE, random_pairs

BATCHES = Batches(
    pairs=random_pairs(20),
    size=8,
    seed=3,
    shuffle=True,
    layout=Layout.SHARED,
    pad_id=0,
    prompt_tokens=PromptTokens.NONE,
    max_length=128,
    world=ALONE,
)


def targets(micro_batches: list[MicroBatch]) -> list[int]:
    """Scored ids of the micro-batches' real pairs, in no order."""
    real = [batch for batch in micro_batches if batch.weight[0] > 0]
    return sorted(torch.cat([batch.targets for batch in real]).tolist())


def test_every_epoch_has_every_pair_once_in_an_order_of_its_own() -> None:
    epochs = [[pair.where for batch in BATCHES.epoch(number) for pair in batch.pairs] for number in (0, 0, 1)]
    assert epochs[0] == epochs[1] != epochs[2]
    assert sorted(epochs[0]) == sorted(epochs[2]) == sorted(pair.where for pair in BATCHES.pairs)


def test_the_last_batch_of_an_epoch_is_what_is_left() -> None:
    sizes = [len(batch.pairs) for batch in BATCHES.epoch(0)]
    assert sizes == [8, 8, 4]
    assert BATCHES.per_epoch == 3


def test_the_tokens_of_a_batch_are_those_of_both_branches() -> None:
    for batch in BATCHES.epoch(0):
        branches = [
            pair.prompt + response for pair in batch.pairs for response in (pair.chosen, pair.rejected)
        ]
        assert batch.tokens == sum(map(len, branches))


@pytest.mark.parametrize("layout", list(Layout))
@pytest.mark.parametrize("max_tokens", [1, 100, 10**6])
def test_micro_batches_hold_the_batch_within_the_budget(layout: Layout, max_tokens: int) -> None:
    batches = replace(BATCHES, layout=layout)
    for batch in batches.epoch(0):
        micro_batches = batches.micro_batches(batch.pairs, max_tokens)
        assert targets(micro_batches) == targets([batches.micro_batch(batch.pairs)])
        for part in micro_batches:
            assert part.input_ids.numel() <= max_tokens or len(part.weight) == 1


def test_the_ranks_share_a_batch_out_among_them() -> None:
    (batch, *_) = BATCHES.epoch(0)
    shares = [
        replace(BATCHES, world=World(rank, 3, torch.device("cpu"))).micro_batches(batch.pairs, 150)
        for rank in range(3)
    ]
    assert len({len(share) for share in shares}) == 1
    assert targets([part for share in shares for part in share]) == targets(
        BATCHES.micro_batches(batch.pairs, 10**6)
    )


def test_a_micro_batch_is_as_large_as_the_plan_says() -> None:
    batch = BATCHES.take(BATCHES.pairs.lengths[:, 0].argsort()[:5])
    assert BATCHES.micro_batch(batch.pairs).input_ids.numel() == tokens_held(
        lengths_of(batch.pairs), Layout.SHARED
    )
