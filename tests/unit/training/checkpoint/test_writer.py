"""A save that does not succeed costs nothing that was there before."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orpo.errors import ResourceError
from orpo.rundir.checkpoints import CheckpointFolder
from orpo.training.checkpoint import writer
from orpo.training.checkpoint.writer import CheckpointWriter, require_room
from tests.loops import ALONE
from tests.unit.training.checkpoint.test_contents import contents


@pytest.fixture
def saving(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CheckpointWriter:
    """A writer with a checkpoint of step 1; it does not wait before it tries again."""
    monkeypatch.setattr(writer, "PAUSES", (0.0, 0.0))
    saving = CheckpointWriter(CheckpointFolder(tmp_path / "checkpoints"), ALONE, 1, {"config": {}})
    assert saving.save(1, lambda: contents(0), best=None)
    return saving


def failing(code: int, times: int) -> Callable[..., Any]:
    """`write_contents` that the system refuses a number of times, with half of the files written."""
    left = [times]

    def write(folder: Path, *arguments: Any) -> None:
        write_contents(folder, *arguments)
        left[0] -= 1
        if left[0] >= 0:
            (folder / "state.json").unlink()
            raise OSError(code, "the system said no")

    write_contents = writer.write_contents
    return write


def names(saving: CheckpointWriter) -> list[str]:
    return sorted(path.name for path in saving.folder.path.iterdir())


def test_older_ones_go_when_a_new_one_is_there(saving: CheckpointWriter) -> None:
    assert saving.save(2, lambda: contents(0), best=None)
    assert names(saving) == ["step-2"]
    assert saving.folder.check(saving.folder.at(2)).facts == {"config": {}, "processes": 1}
    assert saving.save(3, lambda: contents(0), best=2)
    assert names(saving) == ["step-2", "step-3"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EFBIG])
def test_without_space_the_run_goes_on_with_the_checkpoint_it_has(
    saving: CheckpointWriter, code: int, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "write_contents", failing(code, 1))
    assert not saving.save(2, lambda: contents(0), best=None)
    assert names(saving) == ["step-1"]
    assert "step 2: no checkpoint: the system said no; the run goes on" in caplog.text
    assert saving.save(3, lambda: contents(0), best=None)
    assert names(saving) == ["step-3"]


def test_space_is_looked_for_before_anything_is_written(
    saving: CheckpointWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 38}))
    monkeypatch.setattr(writer, "write_contents", pytest.fail)
    assert not saving.save(2, lambda: contents(0), best=None), "32 bytes, and a fifth more"
    assert names(saving) == ["step-1"]
    assert "need 0.0 MB, have 0.0 MB" in caplog.text


def test_room_is_a_fifth_more_than_the_checkpoint(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": 3_600_000_000}))
    require_room(tmp_path / "not" / "there", 3_000_000_000)
    with pytest.raises(OSError, match=r"need 3\.7 GB, have 3\.6 GB"):
        require_room(tmp_path, 3_100_000_000)


def test_what_passes_is_tried_again(
    saving: CheckpointWriter, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(writer, "write_contents", failing(errno.EIO, 2))
    assert saving.save(2, lambda: contents(0), best=None)
    assert names(saving) == ["step-2"]
    assert caplog.text.count("trying again") == 2


def test_what_does_not_pass_ends_the_run_with_the_older_checkpoint_intact(
    saving: CheckpointWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "write_contents", failing(errno.EROFS, 3))
    with pytest.raises(ResourceError, match="step-2 cannot be written: the system said no"):
        saving.save(2, lambda: contents(0), best=None)
    assert names(saving) == ["step-1"]
    saving.folder.check(saving.folder.at(1))
