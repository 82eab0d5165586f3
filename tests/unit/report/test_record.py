from __future__ import annotations

import json
from pathlib import Path

from orpo.report.record import as_record
from orpo.report.run import read_runs
from tests.unit.report.runs import ASSESSMENT, FAILURE, make_run, summary


def test_the_record_is_json_and_has_the_figures(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run", ending=summary(assessment=ASSESSMENT), failure=FAILURE)
    record = json.loads(json.dumps(as_record(read_runs([path])), allow_nan=False))
    (run,) = record["runs"]
    assert (record["schema_version"], run["status"], run["steps"]) == (1, "finished", 40)
    assert run["objective"]["lambda"] == 0.1
    assert run["eval"]["pairs"] == 99
    assert run["eval"]["metrics"]["loss"]["first"] == 2.5
    assert run["summary"]["assessment"] == ASSESSMENT
    assert run["failure"]["pairs"][0]["loss"] == "nan"
    assert {"key": "objective.lambda", "value": 0.1, "origin": "command line"} in run["settings"]
    assert "comparison" not in record


def test_several_runs_are_compared(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / "a"), make_run(tmp_path / "b", engine={"processes": 2})]
    found = as_record(read_runs(paths))["comparison"]
    assert found["held_out_data"] == {"A": 1, "B": 1}
    assert found["facts"] == {"engine: processes": {"A": "1", "B": "2"}}
    assert len(found["cautions"]) == 1
