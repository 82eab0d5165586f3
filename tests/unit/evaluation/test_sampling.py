"""Samples follow the probabilities, row by row."""

from __future__ import annotations

import pytest
import torch

from orpo.evaluation.sampling import InverseTransformSampling, nucleus, uniform_numbers


def test_a_row_has_its_own_numbers_and_longer_ones_begin_the_same() -> None:
    both = uniform_numbers([(0, 1), (0, 2)], 4)
    assert torch.equal(uniform_numbers([(0, 2)], 4)[0], both[1])
    assert torch.equal(uniform_numbers([(0, 2)], 9)[0, :4], both[1])
    assert not torch.equal(both[0], both[1])
    assert ((both >= 0) & (both < 1)).all()


def test_a_number_takes_the_token_whose_share_it_falls_into() -> None:
    probabilities = torch.tensor([0.0, 0.25, 0.0, 0.75, 0.0])
    numbers = torch.tensor([[0.0], [0.2499], [0.2501], [0.9999999999]], dtype=torch.float64)
    sampling = InverseTransformSampling(numbers, 3, temperature=1.0, top_p=1.0)
    ids = torch.zeros((4, 3), dtype=torch.int64)
    scores = sampling(ids, probabilities.log().expand(4, 5))
    assert scores.argmax(-1).tolist() == [1, 1, 3, 3]
    assert (scores == 0).sum(-1).tolist() == [1, 1, 1, 1]


def test_each_step_has_a_number_of_its_own() -> None:
    numbers = torch.tensor([[0.1, 0.9]], dtype=torch.float64)
    sampling = InverseTransformSampling(numbers, 2, temperature=1.0, top_p=1.0)
    taken = [int(sampling(torch.zeros((1, 2 + step)), torch.zeros(1, 2)).argmax()) for step in (0, 1)]
    assert taken == [0, 1]


@pytest.mark.parametrize(("temperature", "expected"), [(1.0, 1), (0.1, 0)])
def test_a_low_temperature_takes_likely_tokens(temperature: float, expected: int) -> None:
    numbers = torch.tensor([[0.9]], dtype=torch.float64)
    sampling = InverseTransformSampling(numbers, 1, temperature=temperature, top_p=1.0)
    scores = sampling(torch.zeros((1, 1)), torch.tensor([[0.7, 0.3]]).log())
    assert int(scores.argmax()) == expected


def test_a_nucleus_is_the_fewest_tokens_with_enough_probability() -> None:
    probabilities = torch.tensor([[0.1, 0.5, 0.15, 0.25], [0.25, 0.25, 0.25, 0.25]])
    kept = nucleus(probabilities, 0.7)
    assert torch.equal(kept, torch.tensor([[0.0, 0.5, 0.0, 0.25], [0.25, 0.25, 0.25, 0.0]]))
    assert torch.equal(nucleus(probabilities, 0.01) > 0, torch.tensor([[0, 1, 0, 0], [1, 0, 0, 0]]).bool())
