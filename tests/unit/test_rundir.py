"""A run directory is never shared, and is readable at every moment."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orpo.errors import ConfigError, ResourceError
from orpo.rundir import RunDirectory, require_free


def test_a_directory_that_holds_another_run_is_refused_and_untouched(tmp_path: Path) -> None:
    RunDirectory.create(tmp_path / "run").write_config("model: x\n")
    with pytest.raises(ConfigError, match="already holds another run"):
        RunDirectory.create(tmp_path / "run")
    assert (tmp_path / "run" / "config.yaml").read_text() == "model: x\n"


def test_a_directory_with_other_files_and_a_file_are_refused(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="already holds files"):
        RunDirectory.create(tmp_path)
    with pytest.raises(ConfigError, match="is a file"):
        RunDirectory.create(tmp_path / "notes.txt")


def test_an_empty_directory_is_taken(tmp_path: Path) -> None:
    assert RunDirectory.create(tmp_path).path == tmp_path


def test_rows_are_appended_and_read_back_by_split(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "deep" / "run")
    assert run.read_metrics() == []
    run.append_metrics({"step": 0, "split": "eval", "loss": 2.0})
    run.append_metrics({"step": 1, "split": "train", "loss": 1.5})
    assert [row["loss"] for row in run.read_metrics()] == [2.0, 1.5]
    assert run.read_metrics("train") == [{"step": 1, "split": "train", "loss": 1.5}]


def test_a_value_that_is_not_a_number_is_never_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        RunDirectory.create(tmp_path / "run").append_metrics({"loss": float("nan")})


def test_definition_and_summary_carry_the_schema_version(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.write_definition({"objective": {"name": "orpo"}})
    run.write_summary({"status": "finished"})
    assert run.read_definition() == {"schema_version": 1, "objective": {"name": "orpo"}}
    assert json.loads((run.path / "summary.json").read_text())["status"] == "finished"
    assert sorted(p.name for p in run.path.iterdir()) == ["definition.json", "summary.json"]


def test_an_output_below_a_file_is_refused_before_anything_is_prepared(tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").touch()
    with pytest.raises(ConfigError, match=r"pairs\.jsonl is a file"):
        require_free(tmp_path / "pairs.jsonl" / "run")


def test_a_write_that_the_system_refuses_is_a_matter_of_resources(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = RunDirectory.create(tmp_path / "run")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResourceError, match="No space left"):
        run.append_metrics({"step": 1})
