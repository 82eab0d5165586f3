"""A run directory is never shared, and is readable at every moment."""

from __future__ import annotations

import errno
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
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(ResourceError, match="Read-only file system"):
        run.append_metrics({"step": 1})


def test_rows_that_waited_for_space_come_before_the_end_or_are_said_to_be_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory.create(tmp_path / "run")

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "open", full)
        run.append_metrics({"step": 1})
        with pytest.raises(OSError, match="No space left on device"):
            run.log_sizes()
        run._logs["metrics.jsonl"].finish()
        assert "metrics.jsonl lacks its last 1 rows: No space left on device" in caplog.text
    run.write_summary({"status": "finished"})
    assert run.read_metrics() == [{"step": 1}]


def test_a_directory_that_only_a_dead_process_has_locked_is_free(tmp_path: Path) -> None:
    for name in ("run.lock", "run.lock.json", "config.yaml.tmp"):
        (tmp_path / name).touch()
    assert require_free(tmp_path) == tmp_path


def test_going_on_takes_back_what_came_after_a_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.append_metrics({"step": 1, "split": "train"})
    sizes = run.log_sizes()
    run.append_metrics({"step": 2, "split": "train"})
    run.append_timing({"step": 2})
    run.write_summary({"status": "interrupted"})
    run.go_on(sizes)
    assert run.read_metrics() == [{"step": 1, "split": "train"}]
    assert (run.path / "timing.jsonl").read_text() == ""
    assert not (run.path / "summary.json").exists()
    assert caplog.text == ""
    (run.path / "metrics.jsonl").unlink()
    run.go_on(sizes)
    assert "bytes logged so far are gone" in caplog.text


def test_a_run_that_starts_over_leaves_its_configuration_and_what_others_wrote(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    run.write_config("model: x\n")
    run.write_definition({})
    run.append_metrics({"step": 1})
    run.write_summary({"status": "failed"})
    run.model.mkdir()
    run.checkpoints.stage(3)
    assert not run.is_finished
    (run.path / "definition.json.tmp").write_text("{")
    (run.path / "events.of.a.tracker").write_text("1")
    run.forget()
    assert {path.name for path in run.path.iterdir()} == {"config.yaml", "events.of.a.tracker"}


def test_a_run_is_finished_when_its_summary_says_so(tmp_path: Path) -> None:
    run = RunDirectory.create(tmp_path / "run")
    assert not run.is_finished
    run.write_summary({"status": "finished"})
    assert run.is_finished
