"""A run directory is read at any moment of its life, and what is damaged is named."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orpo.errors import ConfigError, DataError, OrpoError
from orpo.rundir import locked
from orpo.rundir.records import read_run
from tests.unit.report.runs import ASSESSMENT, FAILURE, edit_json, make_run, summary


def test_a_run_is_read_as_it_was_written(tmp_path: Path) -> None:
    run = read_run(make_run(tmp_path / "run", ending=summary(assessment=ASSESSMENT), failure=FAILURE))
    assert run.definition.objective.coefficients == {"definition": "paper", "lambda": 0.1}
    assert run.definition.data.train[0].dropped == {"identical responses": 3}
    assert [row.step for row in run.metrics if row.split == "eval"] == [0, 10, 20, 30, 40]
    assert run.metrics[0].values["loss"] == 2.5
    assert [row.step for row in run.timing] == list(range(5, 41, 5))
    assert run.summary is not None
    assert run.summary.assessment is not None
    assert run.summary.assessment.by_length.rule == "longer wins"
    assert run.failure is not None
    assert run.failure.pairs[0].terms == {"loss": "nan"}
    assert (run.holder, run.half_written) == (None, ())


def test_a_run_that_has_logged_nothing_is_read(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    for name in ("metrics.jsonl", "timing.jsonl"):
        (path / name).unlink()
    run = read_run(path)
    assert (run.metrics, run.timing, run.summary, run.failure) == ((), (), None, None)


def test_who_works_on_a_run_is_told(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with locked(path):
        holder = read_run(path).holder
    assert holder is not None
    assert holder.since


@pytest.mark.parametrize("half", ['{"step": 45, "spl', '{"step": 45, "split": "train", "loss": 1.0}'])
def test_a_half_written_last_line_is_left_out_and_told(tmp_path: Path, half: str) -> None:
    path = make_run(tmp_path / "run")
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write(half)
    run = read_run(path)
    assert run.metrics[-1].step == 40
    assert run.half_written == ("metrics.jsonl",)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("{", "EOF while parsing"),
        ("", "EOF while parsing"),
        ("[]", "should be an object"),
        ('{"step": 5}', "split: field required"),
        ('{"step": -1, "split": "eval"}', "step: input should be greater than or equal to 0"),
        ('{"step": 5, "split": "test"}', "split: input should be 'train' or 'eval'"),
        ('{"step": 5, "split": "eval", "loss": "low"}', "loss: input should be a valid number"),
        ('{"step": 5, "split": "eval", "loss": NaN}', "loss: input should be a finite number"),
        ('{"step": 5, "split": "eval", "loss": 1e999}', "loss: input should be a finite number"),
        ('{"step": 1, "split": "eval"}', "step 1 comes after step 5"),
        ("[" * 100_000, "recursion limit exceeded"),
        ('{"step": 5, "split": "eval", "\\ud800": 1}', "hex escape"),
    ],
)
def test_a_damaged_line_is_named(tmp_path: Path, line: str, said: str) -> None:
    path = make_run(tmp_path / "run")
    log = path / "metrics.jsonl"
    lines = log.read_text(encoding="utf-8").split("\n")
    log.write_text("\n".join([*lines[:2], line, *lines[2:]]), encoding="utf-8")
    with pytest.raises(DataError) as caught:
        read_run(path)
    assert caught.value.message.startswith(f"{log}:3: ")
    assert said.lower() in caught.value.message.lower()
    assert "version of orpo" in str(caught.value.hint)


@pytest.mark.parametrize("name", ["definition.json", "summary.json", "failure.json"])
def test_a_damaged_document_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    path = make_run(tmp_path / "run", ending=summary(), failure=FAILURE)
    text = (path / name).read_text(encoding="utf-8")
    (path / name).write_text("\n".join(text.splitlines()[:4]), encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}:4: invalid JSON: EOF"):
        read_run(path)


def remove_formula(definition: Any) -> None:
    del definition["objective"]["formula"]


def miscount(definition: Any) -> None:
    definition["data"]["train"][0]["read"] = "many"


def test_what_a_document_lacks_is_named(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    edit_json(path / "definition.json", remove_formula)
    with pytest.raises(DataError, match=r"definition\.json: objective\.formula: field required"):
        read_run(path)


def test_what_a_document_has_wrong_is_named_and_not_quoted(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    edit_json(path / "definition.json", miscount)
    with pytest.raises(DataError, match=r"data\.train\.0\.read: input should be a valid integer") as caught:
        read_run(path)
    assert "many" not in str(caught.value)


def test_a_run_of_another_schema_is_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", ending=summary())
    edit_json(path / "summary.json", lambda content: content.update(schema_version=2))
    with pytest.raises(DataError, match=r"summary\.json: schema_version is 2, and this orpo reads 1"):
        read_run(path)


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "definition.json").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(DataError, match=r"definition\.json"):
        read_run(path)


@pytest.mark.parametrize("missing", ["config.yaml", "definition.json"])
def test_a_directory_without_a_run_is_no_run_directory(tmp_path: Path, missing: str) -> None:
    path = make_run(tmp_path / "run")
    (path / missing).unlink()
    with pytest.raises(ConfigError, match=f"no run directory, or its run has not begun: {missing}"):
        read_run(path)


def test_nothing_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}", encoding="utf-8")
    for path in (tmp_path / "nothing", tmp_path / "file"):
        with pytest.raises(ConfigError, match="no such run directory"):
            read_run(path)


def test_a_file_that_is_a_folder_is_one_message(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "metrics.jsonl").unlink()
    (path / "metrics.jsonl").mkdir()
    with pytest.raises(OrpoError, match="cannot be read"):
        read_run(path)


def test_unknown_keys_are_left_alone(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", ending=summary())
    edit_json(path / "summary.json", lambda content: content.update(new={"deep": [1]}))
    assert json.loads((path / "summary.json").read_text())["new"]
    assert read_run(path).summary is not None
