"""SFT against the supervised term of the paper."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.batch import PromptTokens
from orpo.objectives import SFT
from orpo.objectives.terms import Definition, Turns
from tests import oracles
from tests.objectives import assert_equals, assert_gradient, means, scores_of, whole_pairs
from tests.oracles import TokenPair

PAIRS = [
    TokenPair([-2.0, -0.5], [-1.0, -0.2], [-0.7]),
    TokenPair([-1.5], [-0.3], [], weight=3.0),
]

every_loss = pytest.mark.parametrize(("definition", "turns"), [("paper", "all"), ("trl", "all")])


@every_loss
@given(pairs=st.lists(whole_pairs, min_size=1, max_size=4))
def test_loss_equals_the_supervised_term(
    definition: Definition, turns: Turns, pairs: list[TokenPair]
) -> None:
    assert_equals(SFT(definition, turns), lambda pairs: oracles.nll(pairs, definition, turns), pairs)


@every_loss
def test_gradient_equals_finite_differences_of_the_oracle(definition: Definition, turns: Turns) -> None:
    assert_gradient(SFT(definition, turns), lambda pairs: oracles.nll(pairs, definition, turns), PAIRS)


def test_prompts_are_scored_for_earlier_answers_only() -> None:
    assert {SFT(definition).prompt_tokens for definition in ("paper", "trl")} == {PromptTokens.NONE}
    assert {SFT(definition, "all").prompt_tokens for definition in ("paper", "trl")} == {PromptTokens.ANSWERS}


def test_rejected_responses_are_told_of_and_not_learnt_from() -> None:
    scores, totals = scores_of(PAIRS[:1])
    output = SFT()(scores, totals)
    output.loss.backward()
    assert scores.rejected.grad is None
    assert means(output)["logps/rejected"].item() == pytest.approx(-0.7)
