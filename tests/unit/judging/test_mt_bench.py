"""MT-Bench's figures come out of its published judgements."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.formats.alpaca_eval import Annotation
from orpo.formats.records import write_lines, write_list
from orpo.judging.mt_bench import pair_comparisons, scoreboards
from orpo.judging.published import read_published
from orpo.judging.record import as_record
from orpo.judging.table import as_table
from tests.unit.formats.test_mt_bench import pair, single


def test_games_of_two_models_are_one_comparison_whoever_is_named_first() -> None:
    (found,) = pair_comparisons(
        [
            pair("model_1", "model_1"),
            pair("model_2", "model_2", ("theirs", "ours")),
            pair("model_1", "model_2"),
            pair("model_1", "error"),
        ]
    )
    rate, orders = found.win_rate(), found.orders()
    assert (found.model, found.baseline, found.judge) == ("ours", "theirs", "gpt-4")
    assert rate is not None
    assert (rate.wins, rate.ties, rate.losses) == (2, 1, 0)
    assert orders is not None
    assert orders.first_slot.hits == 1
    assert found.reasons == {"no verdict in the judge's words": 1}
    assert len(found.valid) == 3


def test_without_the_texts_nothing_is_said_about_lengths() -> None:
    (found,) = pair_comparisons([pair("model_1", "model_1"), pair("model_2", "model_2")])
    assert found.mean_lengths() is None
    assert found.length_controlled() is None


def test_scores_are_means_by_model_and_turn() -> None:
    rows = [single(8, 1), single(5, 2), single(-1, 1), single(1, 1, "theirs")]
    ours, theirs = scoreboards(rows)
    assert (ours.model, ours.judge) == ("ours", "gpt-4")
    assert {turn: score.mean and score.mean.value for turn, score in ours.turns} == {1: 8, 2: 5}
    assert ours.overall.mean is not None
    assert (ours.overall.mean.value, ours.overall.count, ours.overall.unread) == (6.5, 2, 1)
    assert theirs.overall.mean is not None
    assert [turn for turn, _ in theirs.turns] == [1]


def test_turns_of_one_question_are_drawn_together() -> None:
    rows = [
        row.model_copy(update={"question_id": question})
        for question in range(20)
        for row in (single(question % 10, 1), single(question % 10, 2))
    ]
    (board,) = scoreboards(rows)
    assert board.overall.mean is not None
    assert board.overall.mean.units == 20


def test_a_file_is_what_its_first_row_is(tmp_path: Path) -> None:
    pairs, singles, annotations = (tmp_path / name for name in ("p.jsonl", "s.jsonl", "a.json"))
    write_lines(pairs, [pair("model_1", "model_1")])
    write_lines(singles, [single(-1, 1)])
    fields = {"instruction": "q", "output_1": "a", "generator_1": "b", "output_2": "c", "generator_2": "d"}
    write_list(annotations, [Annotation(**fields, preference=2)])
    found = read_published([pairs, singles, annotations])
    assert [one.comparison.model for one in found.contests] == ["ours", "d"]
    (board,) = found.scores
    assert board.overall.mean is None
    record = as_record(found.contests, None, scores=found.scores)
    assert record["scores"] == [
        {
            "model": "ours",
            "judge": "gpt-4",
            "turns": {"1": {"mean": None, "interval": None, "n": 0, "n_without_score": 1}},
            "overall": {"mean": None, "interval": None, "n": 0, "n_without_score": 1},
        }
    ]
    assert record["comparisons"][0]["mean_characters"] is None


def test_the_table_has_a_row_for_each_model(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    boards = scoreboards([single(8, 1), single(5, 2), single(3, 1, "[b]theirs[/b]")])
    Console(width=120, markup=True).print(as_table(as_record((), None, scores=boards)))
    lines = capsys.readouterr().out.splitlines()
    assert "turn 1" in lines[1]
    assert [word for word in lines[2].split() if "." in word] == ["8.00", "5.00", "6.50"]
    assert "[b]theirs[/b]" in lines[3]
    assert "–" in lines[3]
