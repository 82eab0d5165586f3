"""A log is whole rows, and has every one of them as soon as there is space."""

from __future__ import annotations

import errno
import io
from pathlib import Path
from typing import Any

import pytest

from orpo.rundir.log import Log


@pytest.fixture
def full(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """A disk with room for five characters per file while this holds True; it holds one True."""
    is_full = [True]
    opened = io.open

    def limited(file: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        handle = opened(file, mode, *arguments, **options)
        if is_full[0] and "a" in mode:
            handle.write('{"ste')
            handle.close()
            raise OSError(errno.ENOSPC, "No space left on device")
        return handle

    monkeypatch.setattr(io, "open", limited)
    return is_full


def test_rows_wait_for_space_with_one_warning_and_in_order(
    tmp_path: Path, full: list[bool], caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.jsonl"
    log = Log(path)
    full[0] = False
    log.append({"step": 1})
    full[0] = True
    log.append({"step": 2})
    log.append({"step": 3})
    assert path.read_text() == '{"step": 1}\n', "no half of a row"
    with pytest.raises(OSError, match="No space left"):
        log.settle()
    full[0] = False
    log.append({"step": 4})
    assert path.read_text() == "".join(f'{{"step": {i}}}\n' for i in (1, 2, 3, 4))
    assert caplog.text.count("its rows wait for space") == 1
    assert log.settle() == path.stat().st_size


def test_what_came_after_a_size_is_taken_back(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = Log(tmp_path / "a.jsonl")
    assert log.settle() == 0
    log.cut(0)
    log.append({"step": 1})
    size = log.settle()
    log.append({"step": 2})
    log.cut(size)
    assert (tmp_path / "a.jsonl").read_text() == '{"step": 1}\n'
    log.cut(size + 4)
    assert f"4 of the {size + 4} bytes logged so far are gone" in caplog.text
