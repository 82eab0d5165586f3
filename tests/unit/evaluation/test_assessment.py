"""A reward model is judged by its values of held-out pairs."""

from __future__ import annotations

import numpy as np
import pytest

from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.evaluation.assessment import assess
from tests.loops import tokenized

COUNT = 200


def pairs_of(longer: float) -> TokenizedPairs:
    """Pairs of prompts of their own, of which this share has the longer response chosen."""
    lengths = [(5, 2) if i < longer * COUNT else (2, 5) for i in range(COUNT)]
    return tokenized(
        TokenizedPair((3, i), (5,) * chosen, (6,) * rejected, f"row {i}")
        for i, (chosen, rejected) in enumerate(lengths)
    )


def values_of(right: float, size: float = 2.0) -> np.ndarray:
    """Values that are right on this share of the pairs, spread over them evenly, by a fixed margin."""
    is_right = (np.arange(COUNT) * 7919 % COUNT) < right * COUNT
    return np.stack([np.where(is_right, size, -size), np.zeros(COUNT)], axis=1).astype(np.float32)


def test_accuracy_stands_beside_that_of_length() -> None:
    found = assess(values_of(0.9), pairs_of(0.6))
    assert found["pairs"] == COUNT
    assert found["accuracy"]["rate"] == pytest.approx(0.9)
    assert found["accuracy"]["low"] < 0.9 < found["accuracy"]["high"]
    assert found["by_length"]["rule"] == "longer wins"
    assert found["by_length"]["rate"] == pytest.approx(0.6)
    assert found["fit_to_judge"] is True


@pytest.mark.parametrize(("right", "longer"), [(0.52, 0.5), (0.85, 0.86)])
def test_one_that_beats_neither_chance_nor_length_is_unfit(right: float, longer: float) -> None:
    assert assess(values_of(right), pairs_of(longer))["fit_to_judge"] is False


def test_calibration_compares_what_it_says_with_how_often_it_is_right() -> None:
    """Sigmoid of log 4 is 0.8: right as often, it is calibrated; right on all, it was too shy."""
    honest, shy = (assess(values_of(share, np.log(4)), pairs_of(0.5))["calibration"] for share in (0.8, 1.0))
    assert [one["confidence"] for one in honest["bins"]] == pytest.approx([0.8] * len(honest["bins"]))
    assert sum(one["pairs"] for one in honest["bins"]) == COUNT
    assert shy["expected_error"] == pytest.approx(0.2)
    assert shy["brier"] == pytest.approx(0.04)


def test_values_that_never_differ_say_nothing_of_calibration() -> None:
    found = assess(np.ones((COUNT, 2), dtype=np.float32), pairs_of(0.5))
    assert found["accuracy"]["rate"] == 0.5
    assert found["calibration"] is None
