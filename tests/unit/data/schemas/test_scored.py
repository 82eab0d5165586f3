"""Several responses with scores or ranks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orpo.data.pairs import UnusableRowError
from orpo.data.schemas.base import Settings
from orpo.data.schemas.scored import Candidate, choose_pairs
from orpo.data.shapes import Answer
from orpo.data.spec import Policy
from orpo.errors import DataError
from tests.preferences import load, texts, turns, user

HELPSTEER = {"correctness": 4, "coherence": 4, "complexity": 2, "verbosity": 2}


def ultrafeedback(**scores: Any) -> dict[str, Any]:
    completions = [{"response": text, "overall_score": score} for text, score in scores.items()]
    return {"instruction": "q", "completions": completions}


def candidates(*scores: float) -> list[Candidate]:
    return [Candidate(Answer(f"{place}: {score}"), score) for place, score in enumerate(scores)]


@pytest.mark.parametrize(
    ("policy", "min_margin", "expected"),
    [
        (None, 0, [("a", "d")]),
        ("best-vs-worst", 4, [("a", "d")]),
        ("all-above-margin", 0, [("a", "c"), ("a", "d"), ("b", "c"), ("b", "d"), ("c", "d")]),
        ("all-above-margin", 3, [("a", "d"), ("b", "d")]),
    ],
)
def test_policies_choose_pairs_of_scored_responses(
    policy: Policy | None, min_margin: float, expected: list[tuple[str, str]], tmp_path: Path
) -> None:
    row = ultrafeedback(a=5, b=5, c=3, d=1)
    table = load(tmp_path, [row], policy=policy, min_margin=min_margin)
    assert texts(table) == expected
    assert (table.counts.read, table.counts.kept) == (1, 1)


def test_a_random_partner_depends_on_the_responses_only_and_differs_between_rows(tmp_path: Path) -> None:
    rows = [ultrafeedback(**{f"best {i}": 9, f"x {i}": 5, f"y {i}": 4, f"z {i}": 1}) for i in range(60)]
    drawn = texts(load(tmp_path, rows, policy="best-vs-random"))
    assert all(chosen.startswith("best") for chosen, _ in drawn)
    assert {rejected[0] for _, rejected in drawn} == {"x", "y", "z"}
    (tmp_path / "elsewhere").mkdir()
    assert texts(load(tmp_path / "elsewhere", rows[::-1], policy="best-vs-random")) == drawn[::-1]
    near = texts(load(tmp_path, rows, policy="best-vs-random", min_margin=5))
    assert {rejected[0] for _, rejected in near} == {"y", "z"}


scores = st.lists(st.integers(-3, 3), min_size=2, max_size=6)


@given(scores, st.sampled_from(["best-vs-worst", "best-vs-random", "all-above-margin"]), st.integers(0, 4))
def test_whatever_the_policy_the_better_one_is_better_by_the_margin(
    values: list[int], policy: Policy, margin: int
) -> None:
    spread = max(values) - min(values)
    try:
        pairs = choose_pairs(candidates(*values), Settings(policy=policy, min_margin=margin))
    except UnusableRowError as error:
        pairs, reason = [], error.reason
    else:
        reason = None
    if spread < max(margin, 1):
        assert (pairs, reason) == ([], "tie" if spread == 0 else "difference below min_margin")
        return
    assert reason is None
    assert all(better.score - worse.score >= max(margin, 1) for better, worse in pairs)
    if policy == "all-above-margin":
        differences = [abs(a - b) for i, a in enumerate(values) for b in values[:i]]
        assert len(pairs) == sum(difference >= max(margin, 1) for difference in differences)
    else:
        assert [better.score for better, _ in pairs] == [max(values)]
    if policy == "best-vs-worst":
        assert pairs[0][1].score == min(values)


def test_the_lowest_rank_is_best(tmp_path: Path) -> None:
    answers = [{"answer": text, "rank": rank} for text, rank in (("c", 3), ("a", 1), ("b", 2))]
    row = {"prompt": "\n\nHuman: q\n\nAssistant:", "answers": answers}
    table = load(tmp_path, [row])
    assert (texts(table), table[0].prompt) == ([("a", "c")], turns(user("q")))


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (ultrafeedback(a=2, b=2), "tie"),
        (ultrafeedback(a=2), "not a list of at least two responses"),
        (ultrafeedback(a=2, b="good"), "`overall_score` is not a number"),
        (ultrafeedback(a=2, b=None), "no value for `overall_score`"),
        (ultrafeedback(a=2, b=True), "`overall_score` is not a number"),
        (ultrafeedback(a=2, b=10**400), "`overall_score` is not a number"),
        ({"instruction": "q", "completions": "a"}, "not a list of at least two responses"),
        ({"instruction": "q", "completions": ["a", "b"]}, "not a list of at least two responses"),
        (
            {"instruction": "", "completions": ultrafeedback(a=2, b=1)["completions"]},
            "no turn before the response",
        ),
    ],
)
def test_rows_without_two_different_scores_are_counted(
    row: dict[str, Any], reason: str, tmp_path: Path
) -> None:
    table = load(tmp_path, [ultrafeedback(a=1, b=2)] * 2 + [row])
    assert table.counts.dropped == {reason: 1}


def rated(prompt: str, response: str, helpfulness: Any) -> dict[str, Any]:
    return {"prompt": prompt, "response": response, "helpfulness": helpfulness} | HELPSTEER


def test_rows_one_after_another_are_the_responses_to_their_prompt(tmp_path: Path) -> None:
    rows = [
        rated("q", "worse", 1),
        rated("q", "better", 4),
        rated("tie", "x", 3),
        rated("tie", "y", 3),
        rated("alone", "z", 3),
        rated("q", "far away", 0),
        rated("r", "best", 4),
        rated("r", "unrated", None),
    ]
    table = load(tmp_path, rows, criterion="helpfulness")
    assert texts(table) == [("better", "worse")]
    assert (table.counts.read, table.counts.kept) == (8, 2)
    assert table.counts.dropped == {
        "tie": 2,
        "no other response to the prompt in the rows beside it": 3,
        "no value for `helpfulness`": 1,
    }


def test_ratings_by_several_criteria_are_an_error_that_names_them(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, [rated("q", "a", 1), rated("q", "b", 2)])
    assert "`helpfulness`, `correctness`, `coherence`, `complexity`, `verbosity`" in caught.value.message
    assert "data.train.criterion=helpfulness" in str(caught.value.hint)
