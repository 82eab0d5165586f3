from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from orpo.errors import DataError
from orpo.formats.alpaca_eval import Annotation, leaderboard_row
from orpo.formats.records import read_records
from orpo.judging.annotations import read_comparisons, write_comparison
from orpo.judging.comparison import Comparison, Judgement
from orpo.judging.outputs import Item
from orpo.judging.verdicts import Status
from tests.paths import SHARED, needs_shared

PUBLISHED = SHARED / "data" / "alpaca_eval" / "published"

COMPARISON = Comparison(
    "ours",
    "theirs",
    "judge",
    (
        Judgement(Item("q", "a", "b", "set"), 1.0, Status.VALID, 1.0, 1.0),
        Judgement(Item("r", "c", "d"), 0.5, Status.VALID, 0.0, 1.0),
        Judgement(Item("s", "e", "f"), math.nan, Status.INVALID, 1.0, math.nan),
    ),
)


def test_what_is_written_is_read_with_both_orders(tmp_path: Path) -> None:
    path = tmp_path / "x" / "annotations.json"
    write_comparison(path, COMPARISON)
    (found,) = read_comparisons(path)
    assert repr(found.judgements) == repr(COMPARISON.judgements)  # NaN is not equal to itself
    assert (found.model, found.baseline, found.judge) == ("ours", "theirs", "judge")
    assert found.reasons == {"no preference in the file": 1}


def test_the_leaderboard_s_reader_gives_the_same_figures(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    write_comparison(path, COMPARISON)
    row, rate = leaderboard_row(read_records(path, Annotation)), COMPARISON.win_rate()
    assert rate is not None
    assert (row.win_rate, row.n_wins, row.n_draws, row.n_wins_base) == (100 * rate.rate, 1, 1, 0)
    first, _, third = json.loads(path.read_text())
    assert {**first, "preference_model_first": 2.0, "preference_baseline_first": 2.0} == first
    assert (first["output_1"], first["output_2"], first["preference"]) == ("b", "a", 2.0)
    assert third["preference"] is None


def test_a_file_with_several_models_is_several_comparisons(tmp_path: Path) -> None:
    rows = [
        {"instruction": q, "output_1": "a", "generator_1": "base", "output_2": "b", "generator_2": model}
        | {"preference": 1.0}
        for q in "xy"
        for model in ("m", "n")
    ]
    path = tmp_path / "annotations.json"
    path.write_text(json.dumps(rows))
    found = read_comparisons(path)
    assert [(one.model, one.baseline, len(one.judgements)) for one in found] == [
        ("m", "base", 2),
        ("n", "base", 2),
    ]
    assert found[0].orders() is None


def test_an_order_outside_its_scale_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "annotations.json"
    write_comparison(path, COMPARISON)
    rows = json.loads(path.read_text())
    rows[1]["preference_model_first"] = 0.0
    path.write_text(json.dumps(rows))
    with pytest.raises(DataError, match=r"row 2: .*preference_model_first"):
        read_comparisons(path)


@needs_shared
@pytest.mark.parametrize(
    ("file", "model"),
    [
        ("phi-2-sft.weighted_alpaca_eval_gpt4_turbo.json", "phi-2-sft"),
        ("guanaco-65b.alpaca_eval_gpt4.json", "guanaco-65b"),
    ],
)
def test_published_annotations_give_the_published_win_rate(file: str, model: str) -> None:
    path = PUBLISHED / file
    (found,) = read_comparisons(path)
    row, rate = leaderboard_row(read_records(path, Annotation)), found.win_rate()
    lengths = found.mean_lengths()
    assert rate is not None
    assert lengths is not None
    assert found.model == model
    assert row.win_rate == pytest.approx(100 * rate.rate, abs=1e-9)
    assert row.standard_error == pytest.approx(100 * rate.standard_error, abs=1e-9)
    assert np.floor(lengths[0]) == row.avg_length
