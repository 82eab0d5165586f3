"""Names of columns that may hold a second response, or a judgement."""

from __future__ import annotations

from typing import Any

import pytest

from orpo.data.names import first_of, rivals, two_responses


def is_rival(name: str, value: Any = "text") -> bool:
    return list(rivals({"response": "a", name: value}, {"response"})) == [name]


@pytest.mark.parametrize(
    "name",
    [
        *("chosen", "rejected", "rejected_answer", "is_preferred", "human_preference", "better_response_id"),
        *("label", "labels", "kto_tag", "winner", "votes", "rank", "is_good", "thumbsUp", "verdict"),
        *("score", "score_ratio", "scores", "overallScore", "instruct_reward", "rating", "quality"),
        *("helpfulness", "correctness", "is_safe", "harm_category", "upvotes", "likes", "stars", "isCorrect"),
    ],
)
def test_names_of_judgements_tell_them_whatever_they_hold(name: str) -> None:
    assert all(is_rival(name, value) for value in ("text", 3, True, None, []))


@pytest.mark.parametrize(
    "name",
    [
        *("answer", "output", "response 2", "responseB", "response_model_a", "LLMResponse", "answers"),
        *("completions", "generations", "candidates", "alternative", "reply", "reference", "ground_truth"),
    ],
)
def test_names_of_responses_tell_them_where_they_hold_something_that_can_be_one(name: str) -> None:
    assert all(is_rival(name, value) for value in ("text", ["a"], [{"role": "user"}], {"text": "a"}))
    assert not any(is_rival(name, value) for value in (3, 0.5, True, None, "", " ", []))


@pytest.mark.parametrize("value", ["chosen", "Rejected", "bad", "negative"])
def test_verdicts_tell_a_judgement_under_any_name(value: str) -> None:
    assert is_rival("kind", value)
    assert not is_rival("kind", f"{value} news")


@pytest.mark.parametrize(
    "name",
    [
        *("text", "id", "uuid", "prompt_id", "source", "category", "messages", "title", "language"),
        *("response_length", "answer_type", "output_format", "response_id", "original_question", "", "1"),
    ],
)
def test_other_names_tell_nothing(name: str) -> None:
    assert not is_rival(name)


def test_a_column_that_is_read_is_no_rival() -> None:
    assert not list(rivals({"label": True, "response": "a"}, {"label", "response"}))


@pytest.mark.parametrize(
    ("there", "expected"),
    [
        (["prompt", "output_1", "output_2"], ("output_1", "output_2")),
        (["answerA", "answerB"], ("answerA", "answerB")),
        (["response 0", "response 1", "response 2"], ("response 0", "response 1")),
        (["human_ref_A", "human_ref_b"], None),
        (["output_1"], None),
    ],
)
def test_two_responses_have_one_name_but_for_its_end(
    there: list[str], expected: tuple[str, str] | None
) -> None:
    assert two_responses(there) == expected


def test_the_first_name_wins() -> None:
    assert first_of(("a", "b"), ["b", "a"]) == "a"
    assert first_of(("a", "b"), ["c"]) is None
