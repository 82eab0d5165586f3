"""What is done is not done again, what fails is told, and the rest goes on."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console

from orpo.comparison import runs
from orpo.comparison.runs import train_all
from orpo.config import LoadedConfig, dump_config
from orpo.errors import CheckpointError, Interrupted, NumericsError
from orpo.rundir import RunDirectory
from tests.unit.comparison.evidence import TEXT, plan


@pytest.fixture
def done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Trains nothing: names of the runs that would have been trained, until one is asked to fail or stop."""
    monkeypatch.chdir(tmp_path)
    names: list[str] = []

    def train(loaded: LoadedConfig, log: Path, on_step: Callable[[int], None]) -> None:
        run = RunDirectory(Path(loaded.config.output))
        run.path.mkdir(parents=True, exist_ok=True)
        run.write_config(dump_config(loaded))
        names.append("/".join(run.path.parts[1:]))
        on_step(1)
        if loaded.config.training.adam_epsilon == 1.0:
            run.write_failure({"step": 1})
            run.write_summary({"status": "failed", "steps": 0})
            raise NumericsError("the loss of step 1 is nan")
        if loaded.config.training.adam_epsilon == 2.0:
            raise Interrupted("Ctrl-C", resumable=True)
        (run.path / "checkpoints").mkdir()
        run.write_summary({"status": "finished", "steps": 8})

    monkeypatch.setattr(runs, "train_in_child", train)
    return names


def test_every_run_is_trained_once(done: list[str], tmp_path: Path) -> None:
    made = plan(tmp_path)
    assert train_all(made, None) == {}
    assert len(done) == len(set(done)) == 2 * 5
    done.clear()
    assert train_all(plan(tmp_path), None) == {}
    assert done == []


def test_checkpoints_of_finished_runs_are_removed(done: list[str], tmp_path: Path) -> None:
    train_all(plan(tmp_path), None)
    assert list(tmp_path.rglob("checkpoints")) == []


def test_a_run_that_fails_is_told_and_the_others_go_on(done: list[str], tmp_path: Path) -> None:
    text = TEXT.replace("objective: {name: sft}}", "objective: {name: sft}, training: {adam_epsilon: 1.0}}")
    failures = train_all(plan(tmp_path, text), None)
    assert failures[Path("compared/runs/sft/seed-1")] == "the loss of step 1 is nan"
    assert failures[Path("compared/runs/dpo/seed-2")] == "the run that it starts from has failed"
    assert len(failures) == 6
    assert "runs/orpo-lambda-1.0/seed-2" in done
    assert "runs/dpo/seed-1" not in done
    done.clear()
    again = train_all(plan(tmp_path, text), None)
    assert again.keys() == failures.keys()
    assert done == []


def test_a_stop_ends_it_all(done: list[str], tmp_path: Path) -> None:
    stopping = plan(tmp_path, TEXT.replace("{batch_size: 8}", "{batch_size: 8, adam_epsilon: 2.0}"))
    with pytest.raises(Interrupted):
        train_all(stopping, None)
    assert done == ["runs/sft/seed-1"]


def test_another_run_in_the_same_place_is_refused(done: list[str], tmp_path: Path) -> None:
    train_all(plan(tmp_path), None)
    with pytest.raises(CheckpointError, match=r"(?s)sft/seed-1: the run began with other.*weight_decay"):
        train_all(plan(tmp_path, TEXT.replace("{batch_size: 8}", "{batch_size: 8, weight_decay: 1.0}")), None)


def test_it_says_what_is_done_and_what_comes_next(done: list[str], tmp_path: Path) -> None:
    said = io.StringIO()
    train_all(plan(tmp_path), Console(file=said, width=200))
    lines = said.getvalue().splitlines()
    assert lines[0] == "run 1 of 10: sft, seed 1 · then orpo-lambda-0.1, seed 1"
    assert lines[1].startswith("run 2 of 10: orpo-lambda-0.1, seed 1 · then orpo-lambda-1.0, seed 1 · about ")
    assert len(lines) == 10
