"""What is wrong with a checkpoint is named; `--resume auto` goes on from an older one, a path does not."""

from __future__ import annotations

import pickle
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from orpo.rundir import RunDirectory
from tests.e2e.commands import Workspace, make_workspace

CHECKPOINT = 4
"""The exit code."""


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A run of 4 steps with a checkpoint of each, which was not finished."""
    workspace = make_workspace(tmp_path_factory.mktemp("trained"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("orpo.modeling.head.SMALL_OUTPUTS", 0)  # as in the tests themselves
        outcome = workspace.train("training.checkpoint_every=1", "training.keep_checkpoints=null")
    assert outcome.code == 0, outcome.err
    shutil.copytree(workspace.output, workspace.folder / "whole")
    return workspace


@pytest.fixture
def stopped(trained: Workspace) -> RunDirectory:
    """The run as it is before its end, with checkpoints of steps 2 and 3."""
    shutil.rmtree(trained.output)
    shutil.copytree(trained.folder / "whole", trained.output)
    run = RunDirectory(trained.output)
    for step in (1, 4):
        shutil.rmtree(run.checkpoints.at(step))
    (run.path / "summary.json").unlink()
    return run


def resume(trained: Workspace, how: str | Path = "auto", *overrides: str):
    return trained.train(
        *("training.checkpoint_every=1", "training.keep_checkpoints=null", *overrides),
        *("--resume", str(how)),
    )


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "truncated": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "a bit flipped": flip,
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"a": 1})),
}
FILES = [
    "manifest.json",
    "optimizer.safetensors",
    "parameters.safetensors",
    "rank-0.json",
    "rank-0.safetensors",
    "state.json",
]


def test_these_are_all_files(stopped: RunDirectory) -> None:
    assert sorted(path.name for path in stopped.checkpoints.at(3).iterdir()) == FILES


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_path_to_a_damaged_checkpoint_is_refused_and_nothing_else_taken(
    trained: Workspace, stopped: RunDirectory, file: str, damage: str
) -> None:
    DAMAGE[damage](stopped.checkpoints.at(3) / file)
    before = (stopped.path / "metrics.jsonl").read_bytes()
    outcome = resume(trained, stopped.checkpoints.at(3))
    assert outcome.code == CHECKPOINT
    assert f"error: {stopped.checkpoints.at(3)} is damaged: {file}" in outcome.err
    assert "Checkpoints of this run: step-3, step-2." in outcome.err
    assert stopped.checkpoints.steps() == [3, 2]
    assert (stopped.path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        *zip(FILES, ["missing", "truncated", "a bit flipped", "a pickle"] * 2, strict=False),
    ],
)
def test_auto_names_the_damage_puts_the_checkpoint_away_and_takes_the_next_older(
    trained: Workspace, stopped: RunDirectory, file: str, damage: str
) -> None:
    DAMAGE[damage](stopped.checkpoints.at(3) / file)
    outcome = resume(trained)
    assert outcome.code == 0, outcome.err
    assert f"step-3 is damaged: {file}" in outcome.err
    assert "it is now step-3.corrupt" in outcome.err
    assert f"going on from {stopped.checkpoints.at(2)}" in outcome.err
    assert stopped.checkpoints.corrupt() == ["step-3.corrupt"]
    for name in ("metrics.jsonl", "model/model.safetensors", "checkpoints/step-4/optimizer.safetensors"):
        whole = trained.folder / "whole" / name
        assert (stopped.path / name).read_bytes() == whole.read_bytes(), name


def test_a_pickle_among_the_files_is_called_one(trained: Workspace, stopped: RunDirectory) -> None:
    (stopped.checkpoints.at(3) / "training_args.bin").write_bytes(pickle.dumps({}))
    outcome = resume(trained, stopped.checkpoints.at(3))
    assert outcome.code == CHECKPOINT
    assert "training_args.bin is a pickle" in outcome.err


def test_without_any_sound_checkpoint_the_user_decides(trained: Workspace, stopped: RunDirectory) -> None:
    for step in (2, 3):
        flip(stopped.checkpoints.at(step) / "parameters.safetensors")
    for _ in range(2):
        outcome = resume(trained)
        assert outcome.code == CHECKPOINT
        assert "no checkpoint is sound; damaged: step-2.corrupt, step-3.corrupt" in outcome.err
    assert (stopped.path / "metrics.jsonl").exists()


def test_a_path_goes_back_to_an_older_checkpoint_and_says_what_that_removes(
    trained: Workspace, stopped: RunDirectory
) -> None:
    outcome = resume(trained, stopped.checkpoints.at(2))
    assert outcome.code == 0, outcome.err
    assert "checkpoints of later steps are removed: 3" in outcome.err
    assert stopped.checkpoints.steps() == [4, 3, 2]
    whole = trained.folder / "whole" / "metrics.jsonl"
    assert (stopped.path / "metrics.jsonl").read_bytes() == whole.read_bytes()


def test_a_path_elsewhere_is_refused(trained: Workspace, stopped: RunDirectory) -> None:
    elsewhere = trained.folder / "whole" / "checkpoints" / "step-3"
    outcome = resume(trained, elsewhere)
    assert outcome.code == CHECKPOINT
    assert f"{elsewhere} is not a checkpoint in {stopped.checkpoints.path}" in outcome.err


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("training.learning_rate=2e-3", "training.learning_rate  0.001 -> 0.002"),
        ("training.batch_size=4", "training.batch_size  8 -> 4"),
        ("training.seed=3", "training.seed  42 -> 3"),
        ("objective.lambda=0.2", "objective.lambda  0.1 -> 0.2"),
        ("data.template=chatml", 'data.template  "auto" -> "chatml"'),
        ("model.dtype=bfloat16", 'model.dtype  "float32" -> "bfloat16"'),
        ("training.max_steps=5", "training.max_steps  4 -> 5"),
    ],
)
def test_what_decides_what_is_learnt_cannot_change(
    trained: Workspace, stopped: RunDirectory, override: str, line: str
) -> None:
    outcome = resume(trained, "auto", override)
    assert outcome.code == CHECKPOINT
    assert f"\n  {line}\n" in outcome.err
    assert stopped.checkpoints.steps() == [3, 2]


def test_other_data_under_the_same_name_are_noticed(trained: Workspace, stopped: RunDirectory) -> None:
    file = trained.folder / "train.jsonl"
    before = file.read_text(encoding="utf-8")
    try:
        file.write_text(before.replace("about", "nearly"), encoding="utf-8")
        outcome = resume(trained)
    finally:
        file.write_text(before, encoding="utf-8")
    assert outcome.code == CHECKPOINT
    assert '\n  data.train.0.fingerprint  "sha256:' in outcome.err
    assert stopped.checkpoints.steps() == [3, 2]


def test_what_changes_speed_only_may_change(trained: Workspace, stopped: RunDirectory) -> None:
    outcome = resume(trained, "auto", "training.max_tokens=40", "training.log_every=2")
    assert outcome.code == 0, outcome.err
    budgets = stopped.read_summary()["max_tokens"]
    assert (budgets[-1]["step"], budgets[-1]["tokens"]) == (3, 40)


def test_the_same_command_again_says_how_to_go_on(trained: Workspace, stopped: RunDirectory) -> None:
    outcome = trained.train("training.checkpoint_every=1")
    assert outcome.code == 2
    line = f"Go on with it: orpo train {trained.config} training.checkpoint_every=1 --resume auto\n"
    assert line in outcome.err


def test_a_run_that_stopped_before_its_first_checkpoint_starts_over(
    trained: Workspace, stopped: RunDirectory
) -> None:
    shutil.rmtree(stopped.checkpoints.path)
    # As if it was killed while that was written, with a tracker writing beside it.
    (stopped.path / "definition.json").rename(stopped.path / "definition.json.tmp")
    (stopped.path / "events.of.a.tracker").write_text("1")
    outcome = resume(trained)
    assert outcome.code == 0, outcome.err
    assert "the run stopped before its first checkpoint, and starts over" in outcome.err
    whole = trained.folder / "whole" / "metrics.jsonl"
    assert (stopped.path / "metrics.jsonl").read_bytes() == whole.read_bytes()


def test_a_run_that_is_not_there_yet_is_started(trained: Workspace, stopped: RunDirectory) -> None:
    shutil.rmtree(stopped.path)
    outcome = resume(trained)
    assert outcome.code == 0, outcome.err
    assert "nothing to resume; the run starts from the beginning" in outcome.err


def test_a_finished_run_says_so(trained: Workspace, stopped: RunDirectory) -> None:
    shutil.rmtree(stopped.path)
    shutil.copytree(trained.folder / "whole", stopped.path)
    changed = (stopped.model / "model.safetensors").stat().st_mtime_ns
    outcome = resume(trained)
    assert outcome.code == 0
    assert f"{stopped.path}: already complete at step 4" in outcome.err
    assert (stopped.model / "model.safetensors").stat().st_mtime_ns == changed
    outcome = resume(trained, "auto", "training.max_steps=8")
    assert outcome.code == CHECKPOINT
    assert "training.max_steps  4 -> 8" in outcome.err
