from __future__ import annotations

import numpy as np
import pytest

from orpo.data.pairs import TokenizedPair
from orpo.doctor.truncation import Cut, cut_at, cut_by_truncation, cuts, emptied_by_truncation


def tokens(prompt: int, chosen: int, rejected: int, *, where: str = "f:1", alike: int = 0) -> TokenizedPair:
    """A pair of these lengths whose responses begin with `alike` equal tokens."""
    return TokenizedPair(
        (0,) * prompt,
        (1,) * alike + (2,) * (chosen - alike),
        (1,) * alike + (3,) * (rejected - alike),
        where,
    )


LENGTHS = np.array([(4, 4, 2), (4, 10, 2), (10, 2, 2), (20, 3, 3)])


def test_a_cut_is_counted_in_pairs_and_lost_tokens() -> None:
    # Room for 6, 6, 0, 0 response tokens: 4 + 2, 6 + 2, 0, 0 of 28 are seen.
    assert cut_at(LENGTHS, 10) == Cut(10, cut=1, emptied=2, lost=1 - 14 / 28)


def test_nothing_is_cut_at_the_longest_pair() -> None:
    assert cut_at(LENGTHS, 23) == Cut(23, cut=0, emptied=0, lost=0.0)


def test_powers_of_two_go_up_to_the_longest_pair_and_the_chosen_length_is_among_them() -> None:
    lengths = np.array([(100, 300, 20)])
    assert [cut.max_length for cut in cuts(lengths, 200)] == [128, 200, 256, 512]
    assert [cut.max_length for cut in cuts(lengths, 2048)] == [128, 256, 512, 2048]


@pytest.mark.parametrize(
    ("pair", "is_cut", "is_emptied"),
    [
        (tokens(5, 5, 5), False, False),
        (tokens(5, 6, 5), True, False),
        (tokens(5, 2, 6), True, False),
        (tokens(9, 2, 1), True, False),
        (tokens(10, 2, 1), False, True),
        (tokens(12, 5, 4), False, True),
        (tokens(5, 8, 8, alike=5), False, True),
        (tokens(5, 8, 8, alike=4), True, False),
    ],
)
def test_a_pair_fits_or_is_cut_or_is_emptied(pair: TokenizedPair, is_cut: bool, is_emptied: bool) -> None:
    assert bool(cut_by_truncation([pair], 10)) is is_cut
    assert bool(emptied_by_truncation([pair], 10)) is is_emptied


@pytest.mark.parametrize("single", [tokens(5, 6, 0), tokens(5, 0, 6)])
def test_a_single_response_fits_or_is_cut_or_is_emptied(single: TokenizedPair) -> None:
    assert not cut_by_truncation([single], 11)
    assert cut_by_truncation([single], 10)
    assert not emptied_by_truncation([single], 6)
    assert emptied_by_truncation([single], 5)


def test_single_responses_are_counted_beside_pairs() -> None:
    # Room for 6 response tokens: 4 + 2 and 6 of 16 are seen.
    assert cut_at(np.array([(4, 4, 2), (4, 10, 0)]), 10) == Cut(10, cut=1, emptied=0, lost=1 - 12 / 16)


def test_rows_are_named_with_their_lengths() -> None:
    (hit,) = cut_by_truncation([tokens(5, 5, 5, where="f:1"), tokens(5, 50, 5, where="f:2")], 10)
    assert (hit.where, hit.text) == ("f:2", "tokens: prompt 5, chosen 50, rejected 5")
