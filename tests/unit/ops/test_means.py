"""Means are weighted, start afresh when taken, and hold on to no graph."""

from __future__ import annotations

import pytest
import torch

from orpo.ops.means import WeightedMeans, add_shares
from tests.loops import ALONE


def test_means_are_weighted() -> None:
    means = WeightedMeans()
    means.add({"loss": torch.tensor(1.0), "margin": torch.tensor(-3.0)}, weight=3)
    means.add({"loss": torch.tensor(5.0), "margin": torch.tensor(1.0)}, weight=1)
    assert means.take(ALONE) == {"loss": 2.0, "margin": -2.0}


def test_taking_the_means_starts_afresh() -> None:
    means = WeightedMeans()
    assert not means
    means.add({"loss": torch.tensor(7.0)}, weight=2)
    assert means
    means.take(ALONE)
    assert not means
    means.add({"loss": torch.tensor(1.0)}, weight=5)
    assert means.take(ALONE) == {"loss": 1.0}


def test_values_are_kept_without_their_graph_and_without_being_changed() -> None:
    value = torch.tensor(2.0, requires_grad=True)
    doubled = value * 2
    means = WeightedMeans()
    means.add({"loss": doubled}, weight=4)
    means.add({"loss": doubled}, weight=4)
    doubled.backward()
    assert doubled.item() == 4.0
    assert not means._sums["loss"].requires_grad
    assert means.take(ALONE)["loss"] == 4.0


def test_shares_of_micro_batches_add_up() -> None:
    sums: dict[str, torch.Tensor] = {}
    first = {"loss": torch.tensor(0.25)}
    add_shares(sums, first)
    add_shares(sums, {"loss": torch.tensor(0.5)})
    assert sums["loss"].item() == pytest.approx(0.75)
    assert first["loss"].item() == 0.25
