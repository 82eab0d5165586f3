"""Where a run begins, and what may not have changed when it goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.config import dump_config, parse_config, resolved
from orpo.errors import CheckpointError, ConfigError
from orpo.run.resume import FREE, Start, find_start, flat, require_same, settings_record
from orpo.rundir import RunDirectory
from tests.loops import ALONE

HOW = "orpo train c.yaml --resume auto"


def loaded(output: Path, **training: Any):
    config = {"model": "m", "data": {"train": "t.jsonl", "eval": ["a", "b"]}, "training": training}
    return parse_config({**config, "output": str(output)})


def begun(output: Path, **training: Any) -> RunDirectory:
    run = RunDirectory.create(output)
    run.write_config(dump_config(loaded(output, **training)))
    return run


def test_only_these_keys_may_change_and_all_of_them_are_keys() -> None:
    config = parse_config({"model": {"name": "m", "lora": {}}, "data": {"train": "t"}, "output": "o"}).config
    keys = flat(resolved(config)).keys()
    assert keys >= FREE - {"training.report_to"}, "an empty list has no leaves"
    deciding = settings_record(config)
    assert not deciding.keys() & FREE
    assert {"training.learning_rate", "training.seed", "model.lora.r", "data.train.path"} <= deciding.keys()


def test_values_are_compared_as_they_come_back_from_json() -> None:
    assert flat({"a": {"b": (1, {"c": None})}, "d": 0.1}) == {"a.b.0": 1, "a.b.1.c": None, "d": 0.1}


def test_a_table_says_what_has_changed_appeared_and_gone(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError) as caught:
        require_same(
            RunDirectory(tmp_path),
            {"rate": 1e-5, "gone": "x", "same": 1},
            {"rate": 2e-5, "same": 1, "new": True},
        )
    assert caught.value.message.splitlines()[1:] == [
        "  rate  1e-05 -> 2e-05",
        '  gone  "x" -> null',
        "  new   null -> true",
    ]


def test_a_new_run_begins_from_nothing(tmp_path: Path) -> None:
    assert find_start(loaded(tmp_path / "run").config, None, HOW, ALONE) == Start()
    assert find_start(loaded(tmp_path / "run").config, "auto", HOW, ALONE) == Start()
    with pytest.raises(CheckpointError, match="there is no run in"):
        find_start(loaded(tmp_path / "run").config, tmp_path / "run/checkpoints/step-1", HOW, ALONE)


def test_the_same_run_again_says_how_to_go_on_and_another_one_does_not(tmp_path: Path) -> None:
    begun(tmp_path / "run")
    with pytest.raises(ConfigError, match="holds this run, which is not finished") as caught:
        find_start(loaded(tmp_path / "run", log_every=3).config, None, HOW, ALONE)
    assert str(caught.value.hint).startswith(f"Go on with it: {HOW}\n")
    with pytest.raises(ConfigError, match="already holds another run") as caught:
        find_start(loaded(tmp_path / "run", seed=3).config, None, HOW, ALONE)
    assert HOW not in str(caught.value)


def test_a_complete_run_is_complete_only_as_itself(tmp_path: Path) -> None:
    begun(tmp_path / "run").write_summary({"status": "finished", "steps": 7})
    same, other = loaded(tmp_path / "run").config, loaded(tmp_path / "run", seed=3).config
    assert find_start(same, "auto", HOW, ALONE) == Start(is_complete=True)
    with pytest.raises(CheckpointError, match=r"training\.seed  42 -> 3"):
        find_start(other, "auto", HOW, ALONE)
    with pytest.raises(ConfigError, match="which is complete"):
        find_start(same, None, HOW, ALONE)


def test_a_stored_configuration_of_another_release_is_another_run(tmp_path: Path) -> None:
    begun(tmp_path / "run").config.write_text("modle: x\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="already holds another run"):
        find_start(loaded(tmp_path / "run").config, None, HOW, ALONE)


def test_the_newest_checkpoint_is_where_a_run_goes_on_as_far_as_its_settings_are_the_same(
    tmp_path: Path,
) -> None:
    run = begun(tmp_path / "run")
    config = loaded(tmp_path / "run").config
    for step in (3, 5):
        run.checkpoints.stage(step)
        run.checkpoints.commit(step, [], {"config": settings_record(config), "processes": 1})
    run.checkpoints.stage(6)
    start = find_start(config, "auto", HOW, ALONE)
    assert start.checkpoint is not None
    assert start.checkpoint.step == 5
    assert not run.checkpoints.staged(6).exists(), "what an interrupted save has left"
    start = find_start(config, run.checkpoints.at(3), HOW, ALONE)
    assert start.checkpoint is not None
    assert start.checkpoint.step == 3
    # The configuration in the run directory may have been edited; the checkpoint knows better.
    other = loaded(tmp_path / "run", learning_rate=1e-3)
    run.write_config(dump_config(other))
    with pytest.raises(CheckpointError, match=r"training\.learning_rate  8e-06 -> 0\.001"):
        find_start(other.config, "auto", HOW, ALONE)
