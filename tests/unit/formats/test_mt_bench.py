from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orpo.errors import DataError
from orpo.formats.mt_bench import (
    Answer,
    Choice,
    PairJudgment,
    Question,
    SingleJudgment,
    Winner,
    pair_verdicts,
    scores,
)
from orpo.formats.records import read_records, write_lines
from orpo.statistics.rates import Rate


def pair(first: Winner, second: Winner, models: tuple[str, str] = ("ours", "theirs")) -> PairJudgment:
    return PairJudgment(
        question_id=81,
        model_1=models[0],
        model_2=models[1],
        g1_winner=first,
        g2_winner=second,
        judge=("gpt-4", "pair-v2"),
        g1_user_prompt="",
        g1_judgment="[[A]]",
        g2_user_prompt="",
        g2_judgment="[[B]]",
        turn=1,
        tstamp=1.5,
    )


def single(score: float, turn: int, model: str = "ours") -> SingleJudgment:
    return SingleJudgment(
        question_id=81,
        model=model,
        judge=("gpt-4", "single-v1"),
        user_prompt="",
        judgment=f"Rating: [[{score}]]",
        score=score,
        turn=turn,
        tstamp=1.5,
    )


def test_questions_are_read_with_and_without_references(tmp_path: Path) -> None:
    path = tmp_path / "question.jsonl"
    path.write_text(
        '{"question_id": 81, "category": "writing", "turns": ["a", "b"]}\n'
        '{"question_id": 111, "category": "math", "turns": ["a", "b"], "reference": ["1", "2"]}\n',
        encoding="utf-8",
    )
    plain, with_reference = read_records(path, Question)
    assert plain.reference is None
    assert with_reference.reference == ["1", "2"]


def test_answers_are_written_as_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "model_answer" / "ours.jsonl"
    answers = [
        Answer(
            question_id=81,
            answer_id="x",
            model_id="ours",
            choices=[Choice(index=0, turns=["a", "b"])],
            tstamp=1.5,
        )
    ]
    write_lines(path, answers)
    assert read_records(path, Answer) == answers
    assert json.loads(path.read_text(encoding="utf-8")) == {
        "question_id": 81,
        "answer_id": "x",
        "model_id": "ours",
        "choices": [{"index": 0, "turns": ["a", "b"]}],
        "tstamp": 1.5,
    }


def test_an_answer_without_choices_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ours.jsonl"
    path.write_text(
        '{"question_id": 81, "answer_id": "x", "model_id": "ours", "choices": [], "tstamp": 1}',
        encoding="utf-8",
    )
    with pytest.raises(DataError, match=r"ours.jsonl:1: not an answer of MT-Bench: `choices`"):
        read_records(path, Answer)


def test_judgements_are_written_as_they_are_read(tmp_path: Path) -> None:
    pairs, singles = tmp_path / "gpt-4_pair.jsonl", tmp_path / "gpt-4_single.jsonl"
    write_lines(pairs, [pair("model_1", "error")])
    write_lines(singles, [single(7.5, 1)])
    assert read_records(pairs, PairJudgment) == [pair("model_1", "error")]
    assert read_records(singles, SingleJudgment) == [single(7.5, 1)]
    assert json.loads(pairs.read_text(encoding="utf-8"))["judge"] == ["gpt-4", "pair-v2"]


def test_a_winner_that_is_none_of_the_four_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "gpt-4_pair.jsonl"
    write_lines(path, [pair("tie", "tie")])
    path.write_text(path.read_text(encoding="utf-8").replace('"tie"', '"A"', 1), encoding="utf-8")
    with pytest.raises(
        DataError, match="`g1_winner`: expected 'model_1', 'model_2', 'tie' or 'error', got 'A'"
    ):
        read_records(path, PairJudgment)


def test_a_win_needs_both_games_whichever_model_is_named_first() -> None:
    judgments = [
        pair("model_1", "model_1"),
        pair("model_2", "model_2", ("theirs", "ours")),
        pair("model_1", "model_2"),  # whoever is shown first
        pair("model_1", "model_2", ("theirs", "ours")),
        pair("model_1", "tie"),
        pair("error", "model_1"),
        pair("model_1", "model_1", ("ours", "another")),
    ]
    found = pair_verdicts(judgments, "ours", "theirs")
    assert found.readable.tolist() == [1, 1, 0.5, 0.5, 0.5]
    assert found.unread == 1
    assert found.first_slot == Rate(2, 5)
    mirrored = pair_verdicts(judgments, "theirs", "ours")
    assert (mirrored.readable == 1 - found.readable).all()
    assert mirrored.first_slot == found.first_slot


def test_models_that_were_not_compared_have_no_verdicts() -> None:
    with pytest.raises(DataError, match="no judgement compares ours with mine"):
        pair_verdicts([pair("tie", "tie")], "ours", "mine")


def test_scores_are_of_a_model_and_a_turn_and_leave_out_what_has_none() -> None:
    judgments = [single(8, 1), single(5, 2), single(-1, 1), single(1, 1, "theirs")]
    assert scores(judgments, "ours").tolist() == [8, 5]
    assert scores(judgments, "ours", turn=2).tolist() == [5]
    assert np.mean(scores(judgments, "ours")) == 6.5
