"""Which tokens are in which term, worked out by hand from the objective's definition."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orpo.batch import Layout
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.objectives import Objective, RewardModel
from orpo.preview.terms import Terms, terms_of
from tests.unit.preview.previews import EARLIER_ANSWERS, PAPER, TRL

PAIR = TokenizedPair((1, 2, 3, 4), (5, 6), (7,), "a:1", answers=((1, 3),))
DEMONSTRATION = TokenizedPair((1, 2), (3, 4), (), "a:2")
UNDESIRABLE = TokenizedPair((1, 2), (), (3, 4), "a:3")

NLL, PREFERENCE, BOTH = Terms.NLL, Terms.PREFERENCE, Terms.BOTH


def terms(objective: Objective, *pairs: TokenizedPair, layout: Layout = Layout.SHARED) -> list[Terms]:
    """The terms of the scored tokens: of each pair its chosen, rejected and prompt tokens."""
    return terms_of(objective, collate(pairs, layout, pad_id=0, prompt_tokens=objective.prompt_tokens))


@pytest.mark.parametrize("layout", Layout)
@pytest.mark.parametrize("lambda_", [0.0, 0.1])
def test_chosen_tokens_are_in_both_terms_and_rejected_ones_in_the_log_odds(
    layout: Layout, lambda_: float
) -> None:
    assert terms(replace(PAPER, lambda_=lambda_), PAIR, layout=layout) == [BOTH, BOTH, PREFERENCE]


@pytest.mark.parametrize("layout", Layout)
def test_trl_takes_the_prompt_but_its_first_token_into_the_nll(layout: Layout) -> None:
    assert terms(TRL, PAIR, layout=layout) == [BOTH, BOTH, PREFERENCE, NLL, NLL, NLL]


@pytest.mark.parametrize("layout", Layout)
def test_with_all_turns_the_earlier_answers_are_in_the_nll(layout: Layout) -> None:
    assert terms(EARLIER_ANSWERS, PAIR, layout=layout) == [BOTH, BOTH, PREFERENCE, NLL, NLL]


@pytest.mark.parametrize("layout", Layout)
def test_a_reward_model_looks_at_the_last_token_of_each_response(layout: Layout) -> None:
    other = TokenizedPair((1, 2), (3,), (4, 5, 6), "a:4")
    assert terms(RewardModel(), PAIR, other, layout=layout) == [
        *(Terms.NONE, PREFERENCE, PREFERENCE),
        *(PREFERENCE, Terms.NONE, Terms.NONE, PREFERENCE),
    ]


def test_a_response_without_a_counterpart_is_in_the_nll_if_it_is_to_be_imitated() -> None:
    assert terms(PAPER, DEMONSTRATION) == [NLL, NLL]
    assert terms(PAPER, UNDESIRABLE) == [Terms.NONE, Terms.NONE]
    assert terms(PAPER, DEMONSTRATION, PAIR, UNDESIRABLE) == [
        *(NLL, NLL),
        *(BOTH, BOTH, PREFERENCE),
        *(Terms.NONE, Terms.NONE),
    ]
