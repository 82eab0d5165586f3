from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orpo.data import SourceSpec
from orpo.doctor.examine import CROSS_CHECKS, TOKEN_CHECKS, examine
from orpo.doctor.page import as_page
from orpo.doctor.record import as_record
from orpo.doctor.report import Report
from orpo.doctor.request import Request
from orpo.errors import ConfigError
from tests.rows import rows, write_rows
from tests.tiny import save_tiny_model


def spec(path: Path) -> tuple[SourceSpec, ...]:
    return (SourceSpec(str(path)),)


def checks(report: Report) -> dict[str, int]:
    return {finding.problem.name: finding.count for finding in report.findings}


def test_checks_that_need_something_else_are_listed_with_what_they_need(tmp_path: Path) -> None:
    report = examine(Request(train=spec(write_rows(tmp_path / "a.jsonl", 24)), max_dropped=0.2))
    reasons = {missing.name: missing.reason for missing in report.not_run}
    assert reasons.keys() == {
        *(problem.name for problem in TOKEN_CHECKS),
        *(problem.name for problem, _ in CROSS_CHECKS),
        "signal",
    }
    assert reasons["double_bos"] == "needs a model: --model"
    assert reasons["signal"] == "train: needs 100 pairs of various prompts, has 24"


def test_with_a_model_and_an_evaluation_everything_is_run_but_what_needs_more_pairs(tmp_path: Path) -> None:
    model = save_tiny_model(tmp_path / "model")
    train, held_out = write_rows(tmp_path / "a.jsonl", 120), write_rows(tmp_path / "b.jsonl", 12)
    report = examine(
        Request(train=spec(train), eval=spec(held_out), model=str(model), max_length=20, max_dropped=0.2)
    )
    assert [missing.name for missing in report.not_run] == ["signal"]
    assert [part.use for part in report.parts] == ["train", "eval"]
    assert report.parts[0].lengths[0].unit == "tokens"
    assert report.settings == {
        "max_dropped": 0.2,
        "model": str(model),
        "template": "none",
        "max_length": 20,
        "truncation": "cut",
    }
    assert checks(report)["prompts_in_train_and_eval"] == 12
    assert checks(report)["cut_by_max_length"] > 0


def test_max_length_is_by_default_what_training_would_take(tmp_path: Path) -> None:
    train = spec(write_rows(tmp_path / "a.jsonl", 24))
    model = str(save_tiny_model(tmp_path / "model", positions=100))
    assert examine(Request(train=train, model=model, max_dropped=0.2)).settings["max_length"] == 100
    (tmp_path / "model" / "config.json").unlink()
    assert examine(Request(train=train, model=model, max_dropped=0.2)).settings["max_length"] == 2048


def test_pairs_cut_count_as_dropped_only_where_training_would_drop_them(tmp_path: Path) -> None:
    model = str(save_tiny_model(tmp_path / "model"))
    train = spec(write_rows(tmp_path / "a.jsonl", 120))
    cut = examine(Request(train=train, model=model, max_length=17, max_dropped=0.2))
    dropped = examine(Request(train=train, model=model, max_length=17, max_dropped=0.2, truncation="drop"))
    assert not cut.fatal
    assert dropped.fatal
    assert checks(dropped)["too_many_dropped"] == checks(cut)["cut_by_max_length"]


def test_held_out_pairs_are_examined_and_their_rows_are_counted_once(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    bad = {"prompt": "x", "chosen": "same", "rejected": "same"}
    path.write_text("".join(json.dumps(row) + "\n" for row in [*rows(20), bad]), encoding="utf-8")
    report = examine(Request(train=spec(path), eval=0.25, max_dropped=0.2))
    train, held_out = report.parts
    assert (train.pairs, held_out.pairs) == (15, 5)
    assert len(train.sources) == 1
    assert held_out.sources == ()
    assert checks(report)["dropped_identical_responses"] == 1


def test_what_cannot_be_read_is_a_finding_and_the_rest_is_examined(tmp_path: Path) -> None:
    broken = tmp_path / "b.jsonl"
    broken.write_text("{", encoding="utf-8")
    report = examine(
        Request(train=spec(write_rows(tmp_path / "a.jsonl", 24)), eval=spec(broken), max_dropped=0.2)
    )
    assert report.fatal
    assert report.findings[0].problem.name == "unreadable"
    assert report.findings[0].use == "eval"
    assert [part.use for part in report.parts] == ["train"]


def test_if_nothing_can_be_read_the_model_is_not_looked_for(tmp_path: Path) -> None:
    broken = tmp_path / "b.jsonl"
    broken.write_text('{"prompt": "x", "chosen": "", "rejected": ""}\n', encoding="utf-8")
    report = examine(Request(train=spec(broken), model=str(tmp_path / "nowhere"), max_dropped=0.2))
    assert report.fatal
    assert report.parts == ()


def test_a_source_that_does_not_exist_is_the_users_mistake(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        examine(Request(train=spec(tmp_path / "none.jsonl"), max_dropped=0.2))


TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
ROWS = st.lists(
    st.fixed_dictionaries({"prompt": TEXTS, "chosen": TEXTS, "rejected": TEXTS}), min_size=1, max_size=12
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=ROWS)
def test_any_text_is_examined_and_shown_and_every_row_is_accounted_for(
    tmp_path: Path, rows: list[dict[str, str]]
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    report = examine(Request(train=spec(path), max_dropped=1.0))
    assert json.dumps(as_record(report), allow_nan=False).isprintable()
    assert all(
        character.isprintable() or character == "\n" for character in as_page(report) if ord(character) < 160
    )
    for part in report.parts:
        (source,) = part.sources
        assert source.counts.kept + source.counts.dropped.total() == source.counts.read == len(rows)
        assert sum(part.languages.values()) == part.pairs == source.counts.kept
