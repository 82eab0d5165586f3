"""Every response gets its own number, whichever process computes it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from orpo.batch import Layout, Scores
from orpo.data.batching import split_batch
from orpo.evaluation.scoring import log_probs, score_responses, values
from orpo.modeling.engine import build_scorer
from orpo.modeling.kinds import LANGUAGE_MODEL, REWARD_MODEL, ModelKind
from orpo.ops.distributed import World
from tests.loops import ALONE, random_pairs
from tests.tiny import tiny_llama, tiny_reward_model

PAIRS = random_pairs(7)


class OneOfTwo(World):
    """A process whose sums are its own share of them."""

    def sum(self, values: Tensor) -> Tensor:
        return values


@pytest.mark.parametrize(
    ("kind", "number"), [(LANGUAGE_MODEL, log_probs), (REWARD_MODEL, values)], ids=["log_probs", "values"]
)
def test_the_shares_of_two_processes_add_up(kind: ModelKind, number: Callable[[Scores], Tensor]) -> None:
    """Of 7 pairs, a micro-batch each, so that one process has a stand-in, which must count nothing."""
    plans = split_batch(PAIRS.lengths, layout=Layout.SHARED, world_size=2, max_tokens=1)
    assert [plan.weight for rank in plans for plan in rank].count(0.0) == 1
    model = tiny_reward_model() if kind.is_reward else tiny_llama(initializer_range=0.2)
    scorer = build_scorer(model.eval(), layout="auto", max_length=128, kind=kind)

    def score(world: World, max_tokens: int) -> np.ndarray:
        return score_responses(
            scorer, PAIRS, number, pad_id=0, max_tokens=max_tokens, world=world, dtype=None
        )

    whole = score(ALONE, 10**6)
    assert np.all(whole != 0)
    shares = [score(OneOfTwo(rank, 2, torch.device("cpu")), 1) for rank in range(2)]
    np.testing.assert_allclose(sum(shares), whole, rtol=1e-5, atol=1e-6)
