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
from tests import datafiles
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


def test_max_length_above_the_models_positions_is_refused_as_in_training(tmp_path: Path) -> None:
    train = spec(write_rows(tmp_path / "a.jsonl", 24))
    model = str(save_tiny_model(tmp_path / "model", positions=100))
    with pytest.raises(ConfigError, match="at most the model's 100 positions, got 101"):
        examine(Request(train=train, model=model, max_length=101, max_dropped=0.2))


def demonstrations(path: Path, *faults: dict[str, str]) -> Path:
    """Eight good single responses, then these."""
    good = [{"prompt": f"Say {i}.", "response": f" All right, it is {i}, as you wish."} for i in range(8)]
    path.write_text("".join(json.dumps(row) + "\n" for row in [*good, *faults]), encoding="utf-8")
    return path


SINGLE_FAULTS: dict[str, dict[str, str]] = {
    "mojibake": {"prompt": "Where?", "response": " In the cafÃ©."},
    "control_characters": {"prompt": "Who?", "response": " Nobo\x1b[31mdy."},
    "template_tokens_in_text": {"prompt": "What?", "response": " It.<|im_end|>"},
    "empty_turns": {"prompt": "", "response": " Something."},
    "duplicate_pairs": {"prompt": "Say 3.", "response": " All right, it is 3, as you wish."},
    "dropped_empty_response": {"prompt": "Why?", "response": ""},
    "cut_by_max_length": {"prompt": "How?", "response": " So so so so so so so so so so so so."},
    "emptied_by_max_length": {"prompt": "How " * 30, "response": " So."},
}


@pytest.mark.parametrize("fault", SINGLE_FAULTS)
def test_faults_of_single_responses_are_found_and_good_ones_have_none(fault: str, tmp_path: Path) -> None:
    model = str(save_tiny_model(tmp_path / "model"))
    for planted in ([], [SINGLE_FAULTS[fault]]):
        train = spec(demonstrations(tmp_path / "a.jsonl", *planted))
        report = examine(Request(train=train, model=model, max_length=40, max_dropped=0.2))
        assert checks(report).get(fault, 0) == len(planted)
        assert not report.fatal
    (finding,) = (one for one in report.findings if one.problem.name == fault)
    assert [row.where for row in finding.examples] == [f"{tmp_path}/a.jsonl:9"]


@pytest.mark.parametrize("with_model", [False, True])
def test_nothing_but_single_responses_is_a_report_like_any_other(with_model: bool, tmp_path: Path) -> None:
    model = str(save_tiny_model(tmp_path / "model")) if with_model else None
    train = spec(demonstrations(tmp_path / "a.jsonl"))
    report = examine(Request(train=train, eval=0.25, model=model, max_dropped=0.2))
    assert [(part.use, part.pairs, part.singles) for part in report.parts] == [
        ("train", 0, 6),
        ("eval", 0, 2),
    ]
    assert report.findings == ()
    record = json.loads(json.dumps(as_record(report), allow_nan=False))
    assert record["parts"]["train"]["lengths"].keys() == {"prompt", "response"}
    page = as_page(report)
    assert "train: 6 single responses" in page
    assert "What predicts the label" not in page


def test_pairs_and_single_responses_are_counted_apart(tmp_path: Path) -> None:
    sources = (*spec(write_rows(tmp_path / "p.jsonl", 20)), *spec(demonstrations(tmp_path / "s.jsonl")))
    report = examine(Request(train=sources, max_dropped=0.2))
    (part,) = report.parts
    assert (part.pairs, part.singles, part.examples) == (20, 8, 28)
    assert part.length_bias.trials <= 20
    assert [lengths.segment for lengths in part.lengths] == ["prompt", "chosen", "rejected", "response"]
    assert "train: 20 pairs, 8 single responses" in as_page(report)


def test_labelled_responses_without_a_counterpart_are_examined_where_they_are_learnt_from(
    tmp_path: Path,
) -> None:
    labelled = [{"prompt": f"{i} + {i} =", "completion": f" {2 * i}", "label": i % 3 > 0} for i in range(24)]
    data = spec(datafiles.write_rows(tmp_path / "rows.jsonl", [*labelled, labelled[5]]))
    model = str(save_tiny_model(tmp_path / "model"))
    report = examine(Request(train=data, keep_unpaired=True, model=model, max_dropped=0.0))
    assert not report.fatal
    assert [(part.pairs, part.singles) for part in report.parts] == [(0, 25)]
    assert checks(report) == {"duplicate_pairs": 1}
    assert checks(examine(Request(train=data, max_dropped=0.0))) == {"unreadable": 1}


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
    reasons = {missing.name: missing.reason for missing in report.not_run}
    assert {reasons[problem.name] for problem, _ in CROSS_CHECKS} == {"needs what could not be read"}


def test_if_nothing_can_be_read_the_model_is_not_looked_for(tmp_path: Path) -> None:
    broken = tmp_path / "b.jsonl"
    broken.write_text('{"prompt": "x", "chosen": "", "rejected": ""}\n', encoding="utf-8")
    report = examine(Request(train=spec(broken), model=str(tmp_path / "nowhere"), max_dropped=0.2))
    assert report.fatal
    assert report.parts == ()
    reasons = {missing.name: missing.reason for missing in report.not_run}
    assert {reasons[problem.name] for problem in TOKEN_CHECKS} == {"needs what could not be read"}
    assert {reasons[problem.name] for problem, _ in CROSS_CHECKS} == {"needs a config with data.eval"}


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
