"""Means are weighted, start afresh when taken, and hold on to no graph."""

from __future__ import annotations

import torch
from torch import Tensor

from orpo.ops.means import WeightedMeans, add_sums, weighted
from tests.loops import ALONE


def one(value: float, weight: float = 1.0) -> Tensor:
    return weighted(torch.tensor(value), torch.tensor(weight))


def test_means_are_weighted_each_by_its_own_weights() -> None:
    means = WeightedMeans()
    means.add({"loss": one(1.0, 3), "margin": one(-3.0, 1)})
    means.add({"loss": one(5.0, 1), "margin": one(1.0, 1)})
    assert means.take(ALONE) == {"loss": 2.0, "margin": -1.0}


def test_taking_the_means_starts_afresh() -> None:
    means = WeightedMeans()
    assert not means
    means.add({"loss": one(7.0)})
    assert means
    means.take(ALONE)
    assert not means
    means.add({"loss": one(1.0)})
    assert means.take(ALONE) == {"loss": 1.0}


def test_what_has_no_weight_has_no_mean() -> None:
    means = WeightedMeans()
    means.add({"loss": one(2.0), "margin": one(0.0, 0.0)})
    assert means.take(ALONE) == {"loss": 2.0}


def test_a_weighted_sum_is_of_values_times_weights_and_has_no_graph() -> None:
    values = torch.tensor([1.0, 10.0, 100.0], requires_grad=True)
    total = weighted(values, torch.tensor([2.0, 0.0, 0.5]))
    assert total.tolist() == [52.0, 2.5]
    assert not total.requires_grad


def test_sums_of_micro_batches_add_up_and_the_first_is_not_changed() -> None:
    sums: dict[str, Tensor] = {}
    first = {"loss": one(0.25)}
    add_sums(sums, first)
    add_sums(sums, {"loss": one(0.5, 3.0)})
    assert sums["loss"].tolist() == [1.75, 4.0]
    assert first["loss"].tolist() == [0.25, 1.0]
