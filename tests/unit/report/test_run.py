"""The figures of a run follow from its files, and from nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.errors import ConfigError
from orpo.report.run import ACCURACY, Run, read_runs
from orpo.statistics.intervals import wilson
from tests.unit.report.runs import make_run, summary


def read(path: Path) -> Run:
    (run,) = read_runs([path])
    return run


def test_changes_are_from_the_first_evaluation_to_the_last(tmp_path: Path) -> None:
    run = read(make_run(tmp_path / "run"))
    change = run.changes["loss"]
    assert (change.first, change.last) == (2.5, run.evaluations[-1].values["loss"])
    assert change.difference == pytest.approx(change.last - 2.5)


def test_only_the_share_of_a_known_number_of_pairs_has_an_interval(tmp_path: Path) -> None:
    run = read(make_run(tmp_path / "run"))
    change = run.changes[ACCURACY]
    assert change.interval == wilson(change.last * 99, 99)
    assert [name for name, one in run.changes.items() if one.interval is not None] == [ACCURACY]
    none = {"pairs": 0, "singles": 99, "of_no_use": 0}
    run = read(make_run(tmp_path / "other", data={"used": {"train": none, "eval": none}}))
    assert run.changes[ACCURACY].interval is None


def test_a_metric_that_only_the_last_evaluation_has_has_no_change(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with (path / "metrics.jsonl").open("a", encoding="utf-8") as log:
        log.write('{"step": 50, "split": "eval", "loss": 1.0, "brier": 0.2}\n')
    assert set(read(path).changes) == {"loss"}


def test_how_a_run_ended_is_what_its_summary_says(tmp_path: Path) -> None:
    unfinished = read(make_run(tmp_path / "a"))
    assert (unfinished.state, unfinished.steps, unfinished.seconds) == ("unfinished", 40, None)
    failed = read(make_run(tmp_path / "b", ending=summary(status="failed", steps=43)))
    assert (failed.state, failed.steps, failed.seconds) == ("failed", 43, 93.5)


def test_speed_is_over_all_logged_time(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    (path / "timing.jsonl").write_text(
        '{"step": 5, "pairs_per_second": 10.0, "seconds": 3.0, "peak_memory_bytes": 7}\n'
        '{"step": 9, "pairs_per_second": 50.0, "seconds": 1.0, "peak_memory_bytes": 5}\n',
        encoding="utf-8",
    )
    run = read(path)
    assert run.rate_of("pairs_per_second") == pytest.approx(20.0)
    assert run.rate_of("tokens_per_second") is None
    assert run.peak_memory_bytes == 7


def test_runs_are_told_apart_by_letters(tmp_path: Path) -> None:
    paths = [make_run(tmp_path / name) for name in "xy"]
    assert [(run.label, run.name) for run in read_runs(paths)] == [("A", "x"), ("B", "y")]


def test_a_run_is_given_once(tmp_path: Path) -> None:
    path = make_run(tmp_path / "run")
    with pytest.raises(ConfigError, match="is given twice"):
        read_runs([path, tmp_path / "." / "run"])


def test_there_are_as_many_runs_as_letters() -> None:
    with pytest.raises(ConfigError, match="27 runs are more than one report shows, which is 26"):
        read_runs([Path(str(i)) for i in range(27)])
