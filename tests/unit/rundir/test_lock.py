"""Two processes never share a run directory, and a dead one keeps nobody out."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from orpo.errors import ConfigError
from orpo.rundir import locked

HOLD = """
import sys, time
from pathlib import Path
from orpo.rundir import locked
with locked(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_told_who_the_first_is(tmp_path: Path) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True
    ) as holder:
        try:
            assert holder.stdout is not None
            assert holder.stdout.readline() == "held\n"
            with pytest.raises(ConfigError) as caught, locked(run):
                pass
            expected = rf"is locked by pid {holder.pid} on {socket.gethostname()} since \d{{4}}-\d\d-\d\dT"
            assert re.search(expected, caught.value.message)
        finally:
            holder.kill()


def test_the_lock_of_a_process_that_was_killed_is_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = tmp_path / "run"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(run)], stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        holder.kill()
    with caplog.at_level(logging.INFO, logger="orpo"), locked(run):
        assert json.loads((run / "run.lock.json").read_bytes())["pid"] == os.getpid()
    assert f"pid {holder.pid} on {socket.gethostname()}" in caplog.text
    assert "it is taken over" in caplog.text


def test_nothing_is_left_of_a_directory_that_was_made_for_the_lock(tmp_path: Path) -> None:
    with locked(tmp_path / "run"):
        assert (tmp_path / "run" / "run.lock").exists()
    assert not (tmp_path / "run").exists()


def test_what_is_in_the_directory_stays_and_the_lock_goes(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / "config.yaml").touch()
    assert [path.name for path in tmp_path.iterdir()] == ["config.yaml"]


def test_a_file_is_no_run_directory(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="is a file"), locked(tmp_path / "file"):
        pass
