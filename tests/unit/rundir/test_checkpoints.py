"""A checkpoint is there whole or not at all, and is believed only while every byte is what was written."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest

from orpo.files import DamagedError
from orpo.rundir.checkpoints import MANIFEST, CheckpointFolder

FILES = {"a.safetensors": b"weights" * 100, "b.json": b"{}"}


def write(folder: CheckpointFolder, *steps: int) -> None:
    for step in steps:
        folder.stage(step)
        for name, content in FILES.items():
            (folder.staged(step) / name).write_bytes(content)
        folder.commit(step, list(FILES), {"processes": 1, "step": step})


@pytest.fixture
def folder(tmp_path: Path) -> CheckpointFolder:
    """Checkpoints of steps 9 and 10."""
    folder = CheckpointFolder(tmp_path / "checkpoints")
    write(folder, 9, 10)
    return folder


def test_the_newest_is_the_one_of_the_highest_step_with_what_its_writer_said(
    folder: CheckpointFolder,
) -> None:
    newest = folder.newest()
    assert newest is not None
    assert (newest.step, newest.path, newest.facts) == (
        10,
        folder.path / "step-10",
        {"processes": 1, "step": 10},
    )
    assert folder.steps() == [10, 9]


def test_what_is_not_committed_is_no_checkpoint_and_goes_away(folder: CheckpointFolder) -> None:
    folder.stage(11)
    (folder.staged(11) / "a.safetensors").write_bytes(b"half")
    assert folder.steps() == [10, 9]
    folder.clear_leftovers()
    assert sorted(path.name for path in folder.path.iterdir()) == ["step-10", "step-9"]


def test_a_file_that_was_not_written_is_no_reason_to_commit(folder: CheckpointFolder) -> None:
    folder.stage(11)
    with pytest.raises(FileNotFoundError):
        folder.commit(11, ["a.safetensors"], {})
    assert folder.steps() == [10, 9]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def unpickled(path: Path) -> None:
    path.write_bytes(pickle.dumps({"weights": [1.0]}))


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "truncated": cut,
    "one bit flipped": flip,
    "a pickle": unpickled,
}


@pytest.mark.parametrize("file", [*FILES, MANIFEST])
@pytest.mark.parametrize("damage", DAMAGE)
def test_every_damage_to_every_file_is_seen_and_named(
    folder: CheckpointFolder, file: str, damage: str
) -> None:
    DAMAGE[damage](folder.at(10) / file)
    with pytest.raises(DamagedError, match=file) as caught:
        folder.check(folder.at(10))
    if damage == "a pickle" and file != MANIFEST:
        assert str(caught.value) == f"{file} is a pickle, which is never read"


def test_a_file_more_is_refused_and_a_pickle_called_one(folder: CheckpointFolder) -> None:
    (folder.at(10) / "optimizer.pt").write_bytes(b"PK\x03\x04 and so on")
    with pytest.raises(DamagedError, match=r"optimizer\.pt is a pickle that manifest\.json does not name"):
        folder.check(folder.at(10))


def test_the_checkpoint_of_another_step_is_not_taken_for_this_one(folder: CheckpointFolder) -> None:
    folder.at(10).rename(folder.at(12))
    with pytest.raises(DamagedError, match="is of step 10"):
        folder.check(folder.at(12))


def test_a_checkpoint_of_a_later_format_is_not_guessed_at(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orpo.rundir.checkpoints.SCHEMA_VERSION", 2)
    with pytest.raises(DamagedError, match="schema version 1, expected 2"):
        folder.check(folder.at(10))


def test_damaged_ones_are_put_out_of_the_way_until_a_sound_one_is_found(
    folder: CheckpointFolder, caplog: pytest.LogCaptureFixture
) -> None:
    write(folder, 11)
    flip(folder.at(11) / "b.json")
    cut(folder.at(10) / "a.safetensors")
    newest = folder.newest()
    assert newest is not None
    assert newest.step == 9
    assert folder.steps() == [9]
    assert folder.corrupt() == ["step-10.corrupt", "step-11.corrupt"]
    assert "b.json is not what was written (other content of the same size); it is now" in caplog.text
    assert "a.safetensors is not what was written (699 of 700 bytes)" in caplog.text


def test_a_step_may_be_damaged_twice(folder: CheckpointFolder) -> None:
    for _ in range(2):
        flip(folder.at(10) / "b.json")
        folder.newest()
        write(folder, 10)
    assert folder.corrupt() == ["step-10.corrupt", "step-10.corrupt-2"]


def test_only_the_newest_are_kept_and_the_best(folder: CheckpointFolder) -> None:
    write(folder, 11, 12)
    folder.keep(None)
    assert folder.steps() == [12, 11, 10, 9]
    folder.keep(2, best=9)
    assert folder.steps() == [12, 11, 9]
    folder.keep(1, best=12)
    assert folder.steps() == [12]


def test_later_ones_are_removed_on_request(folder: CheckpointFolder) -> None:
    assert folder.remove_after(9) == [10]
    assert folder.steps() == [9]


def test_a_removal_that_is_interrupted_never_leaves_a_damaged_checkpoint(
    folder: CheckpointFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.rmtree", lambda path, ignore_errors: (path / "b.json").unlink())
    folder.keep(1)
    monkeypatch.undo()
    assert folder.steps() == [10]
    assert sorted(path.name for path in folder.path.iterdir()) == ["step-10", "step-9.removed"]
    folder.clear_leftovers()
    assert sorted(path.name for path in folder.path.iterdir()) == ["step-10"]


def test_where_there_is_nothing_there_is_no_checkpoint(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "none")
    folder.clear_leftovers()
    assert (folder.steps(), folder.newest(), folder.corrupt()) == ([], None, [])
