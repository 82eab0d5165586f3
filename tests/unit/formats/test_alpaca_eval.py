from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orpo.errors import DataError
from orpo.formats.alpaca_eval import (
    Annotation,
    LeaderboardRow,
    ModelOutput,
    leaderboard_row,
    preferences,
    read_leaderboard,
    write_leaderboard,
)
from orpo.formats.records import read_records, write_list
from tests.paths import SHARED, needs_shared

PUBLISHED = SHARED / "data" / "alpaca_eval" / "published"


def annotation(preference: float | None, output: str = "four", model: str = "ours") -> Annotation:
    return Annotation(
        instruction="2 + 2?",
        output_1="4",
        generator_1="theirs",
        output_2=output,
        generator_2=model,
        annotator="judge",
        preference=preference,
    )


@needs_shared
@pytest.mark.parametrize(
    "file", ["guanaco-65b.alpaca_eval_gpt4.json", "phi-2-sft.weighted_alpaca_eval_gpt4_turbo.json"]
)
def test_published_annotations_give_the_published_row(file: str) -> None:
    board: list[dict[str, str]] = json.loads((PUBLISHED / "leaderboard.json").read_text(encoding="utf-8"))
    (published,) = (row for row in board if file == f"{row['model']}.{row['annotator']}.json")
    ours = leaderboard_row(read_records(PUBLISHED / file, Annotation))
    for column in ("win_rate", "standard_error", "discrete_win_rate"):
        assert getattr(ours, column) == pytest.approx(float(published[column]), abs=1e-9, rel=0)
    for column in ("n_wins", "n_wins_base", "n_draws", "n_total", "avg_length"):
        assert getattr(ours, column) == int(published[column])


def test_draws_have_two_spellings_and_unread_verdicts_are_none(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    rows = [{**annotation(1).fields(), "preference": value} for value in (0, 1.5, 2, None, float("nan"))]
    path.write_text(json.dumps(rows), encoding="utf-8")
    read = read_records(path, Annotation)
    assert preferences(read) == pytest.approx([0.5, 0.5, 1, np.nan, np.nan], nan_ok=True)
    row = leaderboard_row(read)
    assert (row.n_wins, row.n_draws, row.n_wins_base, row.n_total) == (1, 2, 0, 3)
    assert row.win_rate == pytest.approx(200 / 3)


def test_the_length_is_that_of_all_outputs_rounded_down() -> None:
    assert leaderboard_row([annotation(2, "abc"), annotation(1, "abcdef")]).avg_length == 4


@pytest.mark.parametrize("preference", [0.5, 2.1, -1, "2", True, [1]])
def test_other_preferences_are_refused(tmp_path: Path, preference: Any) -> None:
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps([{**annotation(1).fields(), "preference": preference}]), encoding="utf-8")
    with pytest.raises(DataError, match="row 1: not an annotation of AlpacaEval: `preference`: expected a"):
        read_records(path, Annotation)


def test_annotations_of_several_models_or_none_make_no_row() -> None:
    with pytest.raises(DataError, match="one model, got generator_2 = a, b"):
        leaderboard_row([annotation(1, model="a"), annotation(1, model="b")])
    with pytest.raises(DataError, match="got generator_2 = none"):
        leaderboard_row([])
    with pytest.raises(DataError, match="none of the 1 annotations of ours has a preference"):
        leaderboard_row([annotation(None)])


def test_what_is_written_has_the_fields_that_alpaca_eval_reads(tmp_path: Path) -> None:
    outputs = [ModelOutput(instruction="2 + 2?", output="four", generator="ours", dataset="helpful_base")]
    write_list(tmp_path / "model_outputs.json", outputs)
    assert read_records(tmp_path / "model_outputs.json", ModelOutput) == outputs
    assert json.loads((tmp_path / "model_outputs.json").read_text(encoding="utf-8")) == [
        {"instruction": "2 + 2?", "output": "four", "generator": "ours", "dataset": "helpful_base"}
    ]
    annotations = [annotation(1.2), annotation(None)]
    write_list(tmp_path / "annotations.json", annotations)
    assert read_records(tmp_path / "annotations.json", Annotation) == annotations
    first, second = json.loads((tmp_path / "annotations.json").read_text(encoding="utf-8"))
    assert first["preference"] == 1.2
    assert second["preference"] is None


def test_a_leaderboard_is_a_csv_file_with_the_best_first(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    worse, better = leaderboard_row([annotation(1), annotation(1.4)]), leaderboard_row([annotation(2)] * 2)
    write_leaderboard(path, {"a, b": worse, "c": better})
    with path.open(encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["", *LeaderboardRow.model_fields]
    assert [row[0] for row in rows] == ["c", "a, b"]
    read = read_leaderboard(path)
    assert read["a, b"].win_rate == worse.win_rate
    assert read["c"].length_controlled_winrate is None


def test_a_leaderboard_with_words_for_numbers_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "leaderboard.csv"
    write_leaderboard(path, {"a": leaderboard_row([annotation(1), annotation(2)])})
    path.write_text(path.read_text(encoding="utf-8").replace("50.0", "half"), encoding="utf-8")
    with pytest.raises(
        DataError, match=r"leaderboard.csv:2: not a row of AlpacaEval's leaderboard: `win_rate`"
    ):
        read_leaderboard(path)
    path.write_text("model,win_rate\na,1\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"leaderboard.csv:2: the first column"):
        read_leaderboard(path)
