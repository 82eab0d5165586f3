"""An objective gets the rows that it can use, and what it leaves is said and recorded."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest

from orpo.data.tokenized import TokenizedPairs
from orpo.errors import DataError
from orpo.objectives import DPO, KTO, ORPO, SFT, Objective
from orpo.run.usable import usable
from tests.loops import random_pairs, tokenized


def six_pairs_and_three_singles() -> TokenizedPairs:
    """The tokens of 9 rows, every third of which has no rejected response."""
    return random_pairs(9, mixed=True)


@pytest.mark.parametrize(
    ("objective", "train", "held_out", "said"),
    [
        (ORPO(), (6, 3), (6, 3), "6 pairs and 3 single responses, which join the supervised term only"),
        (SFT(), (0, 9), (6, 3), None),
        (DPO(), (6, 0), (6, 0), "DPO learns from pairs of a chosen and a rejected response: 6 of 9 rows"),
        (KTO(), (0, 15), (6, 3), None),
    ],
    ids=["orpo", "sft", "dpo", "kto"],
)
def test_what_an_objective_uses(
    objective: Objective,
    train: tuple[int, int],
    held_out: tuple[int, int],
    said: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Pairs and single responses to learn from, and to be evaluated on."""
    rows = six_pairs_and_three_singles()
    with caplog.at_level(logging.INFO, logger="orpo"):
        used = usable("train", rows, objective)
    assert (len(used) - used.singles, used.singles) == train
    assert said is None or f"train: {said}" in caplog.messages
    held = usable("eval", rows, objective)
    assert (len(held) - held.singles, held.singles) == held_out


def test_rows_of_which_none_can_be_used_are_refused() -> None:
    lonely = tokenized(replace(pair, rejected=()) for pair in random_pairs(3))
    with pytest.raises(DataError, match=r"train: DPO learns from pairs of .*none of 3 rows is one"):
        usable("train", lonely, DPO())


def test_rows_without_a_contrast_are_warned_of(caplog: pytest.LogCaptureFixture) -> None:
    desirable = tokenized(replace(pair, rejected=()) for pair in random_pairs(3))
    undesirable = tokenized(replace(pair, chosen=()) for pair in random_pairs(4))
    with caplog.at_level(logging.WARNING, logger="orpo"):
        usable("train", random_pairs(3), KTO())
        usable("train", random_pairs(3, mixed=True), ORPO())
        assert not caplog.messages
        usable("train", undesirable, KTO())
        usable("train", desirable, ORPO())
    assert caplog.messages == [
        "train: all 4 responses are undesirable ones: there is no contrast to learn",
        "train: 0 pairs and 3 single responses, which join the supervised term only",
    ]
