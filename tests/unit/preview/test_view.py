from __future__ import annotations

import pytest

from orpo.batch import Layout
from orpo.preview.terms import Terms
from orpo.preview.view import Held
from tests.unit.preview.previews import EARLIER_ANSWERS, PAPER, TRL, Texts, preview_of

PAIR = Texts("Hi?", "Yes", "No")  # 3, 4 and 3 tokens with the ends
SINGLE = Texts("Hi", "Yo", None, where="rows.jsonl:2", weight=0.5)  # 2 and 3


def test_the_split_counts_pairs_singles_and_tokens_by_segment() -> None:
    split = preview_of(PAIR, SINGLE, Texts("Hi", None, "No")).split
    assert (split.name, split.pairs, split.singles) == ("train", 1, 2)
    assert split.tokens == {"prompt": 7, "chosen": 7, "rejected": 6}


@pytest.mark.parametrize(
    ("layout", "held"),
    [
        (Layout.SHARED, Held(1, 15, 0, scored=10, in_nll=7, in_preference=7)),
        (Layout.PACKED, Held(1, 18, 0, scored=10, in_nll=7, in_preference=7)),
        # Rows of 7, 5 and 6 tokens.
        (Layout.PADDED, Held(3, 7, 3, scored=10, in_nll=7, in_preference=7)),
    ],
)
def test_the_micro_batch_counts_what_it_holds_and_what_is_scored(layout: Layout, held: Held) -> None:
    shown = preview_of(PAIR, SINGLE, layout=layout)
    assert shown.held == held
    assert shown.held.tokens == held.rows * held.columns


def test_an_example_has_its_origin_its_weight_and_the_segments_that_are_there() -> None:
    pair, single = preview_of(PAIR, SINGLE).examples
    assert (pair.where, pair.weight, pair.is_single) == ("rows.jsonl:1", 1.0, False)
    assert (single.where, single.weight, single.is_single) == ("rows.jsonl:2", 0.5, True)
    assert [segment.name for segment in pair.segments] == ["prompt", "chosen", "rejected"]
    assert [segment.name for segment in single.segments] == ["prompt", "chosen"]


def test_a_response_without_its_end_is_cut_and_a_prompt_never_is() -> None:
    (whole,) = preview_of(PAIR).examples
    (cut,) = preview_of(Texts("Hi?", "Yes", "No", cut=True)).examples
    assert [segment.is_cut for segment in whole.segments] == [False, False, False]
    assert [segment.is_cut for segment in cut.segments] == [False, True, True]


def test_tokens_are_counted_by_their_terms() -> None:
    texts = Texts("abcdef", "Yes", "No", answers=((2, 4),))

    def counts(objective: object) -> list[dict[Terms, int]]:
        (example,) = preview_of(texts, objective=objective).examples  # type: ignore[arg-type]
        return [dict(segment.counts) for segment in example.segments]

    responses = [{Terms.BOTH: 4}, {Terms.PREFERENCE: 3}]
    assert counts(PAPER) == [{Terms.NONE: 6}, *responses]
    assert counts(TRL) == [{Terms.NONE: 1, Terms.NLL: 5}, *responses]
    assert counts(EARLIER_ANSWERS) == [{Terms.NONE: 4, Terms.NLL: 2}, *responses]
