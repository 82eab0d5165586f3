"""An objective against its oracle: value by any log-probabilities, gradient by finite differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import strategies as st
from torch import Tensor

from orpo.batch import Scores, Totals
from orpo.objectives import Objective, ObjectiveOutput
from tests import oracles
from tests.oracles import TokenPair

logps = st.floats(min_value=-30, max_value=-1e-12)
responses = st.lists(logps, min_size=1, max_size=5)
references = st.tuples(st.floats(-60, -1e-9), st.floats(-60, -1e-9))
weights = st.sampled_from([0.125, 1.0, 3.0])
whole_pairs = st.builds(
    TokenPair, st.lists(logps, max_size=5), responses, responses, weight=weights, reference=references
)
"""Pairs that have both responses."""

STEP = oracles.mpf(10) ** -20


def scores_of(
    pairs: Sequence[TokenPair], dtype: torch.dtype = torch.float64, divergence: float = 0.0
) -> tuple[Scores, Totals]:
    """What an objective is given for a batch of these pairs; sums have gradients."""

    def column(kind: str) -> tuple[Tensor, Tensor]:
        values = [getattr(pair, kind) for pair in pairs]
        sums = torch.tensor([math.fsum(v) for v in values], dtype=dtype, requires_grad=True)
        return sums, torch.tensor([len(v) for v in values], dtype=dtype)

    (chosen, n_w), (rejected, n_l), (prompt, n_x) = column("chosen"), column("rejected"), column("prompt")
    weight = torch.tensor([pair.weight for pair in pairs], dtype=dtype)
    reference = torch.tensor([pair.reference for pair in pairs], dtype=dtype).T
    margin = torch.zeros_like(weight)
    scores = Scores(chosen, rejected, prompt, n_w, n_l, n_x, weight, margin, reference)
    has_chosen, has_rejected = (n_w > 0).to(dtype), (n_l > 0).to(dtype)
    totals = Totals(
        pairs=float((weight * has_chosen * has_rejected).sum()),
        answered=float((weight * has_chosen).sum()),
        prompt_tokens=float((weight * has_chosen * n_x).sum()),
        chosen_tokens=float((weight * n_w).sum()),
        responses=float((weight * (has_chosen + has_rejected)).sum()),
        divergence=divergence,
    )
    return scores, totals


def means(output: ObjectiveOutput) -> dict[str, Tensor]:
    """The mean of every metric of a whole batch."""
    return {name: total / weight for name, (total, weight) in output.metrics.items()}


def assert_equals(
    objective: Objective, oracle: oracles.Oracle, pairs: Sequence[TokenPair], divergence: float = 0.0
) -> None:
    """The loss of a batch is the oracle's."""
    found = objective(*scores_of(pairs, divergence=divergence)).loss.item()
    assert found == pytest.approx(float(oracle(pairs)), rel=1e-11, abs=1e-12)


def assert_gradient(
    objective: Objective, oracle: oracles.Oracle, pairs: Sequence[TokenPair], divergence: float = 0.0
) -> None:
    """The gradient with respect to every score is that of the oracle."""
    scores, totals = scores_of(pairs, divergence=divergence)
    objective(scores, totals).loss.backward()
    before = oracle(pairs)
    for kind in ("chosen", "rejected", "prompt"):
        for i, pair in enumerate(pairs):
            values = getattr(pair, kind)
            if not values:
                continue
            moved = [*pairs]
            moved[i] = replace(pair, **{kind: [values[0] + STEP, *values[1:]]})
            grad = getattr(scores, kind).grad
            found = 0.0 if grad is None else grad[i].item()
            expected = float((oracle(moved) - before) / STEP)
            assert found == pytest.approx(expected, rel=1e-10, abs=1e-12), (kind, i)
