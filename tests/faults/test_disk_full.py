"""A disk that fills up costs a checkpoint, and never the run or the checkpoint before."""

from __future__ import annotations

import os
import resource
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from orpo.rundir import RunDirectory
from tests.e2e.commands import ENVIRONMENT, ORPO, make_workspace

RESOURCES = 6
"""The exit code."""


def test_a_checkpoint_that_does_not_fit_is_given_up_and_the_run_goes_on(tmp_path: Path) -> None:
    """A limit on the size of files stands for the disk: the weights fit, the optimizer's state does not."""
    workspace = make_workspace(tmp_path)

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = subprocess.run(
        [str(ORPO), "train", str(workspace.config), "training.checkpoint_every=2"],
        env=ENVIRONMENT,
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "step 2: no checkpoint: File too large; the run goes on, and older ones are kept" in done.stderr
    run = RunDirectory(workspace.output)
    assert os.listdir(run.checkpoints.path) == []
    assert run.is_finished
    assert (run.model / "model.safetensors").exists()
    assert [row["step"] for row in run.read_metrics("train")] == [1, 2, 3, 4]


def test_a_run_whose_first_checkpoint_would_not_fit_is_refused_before_it_begins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = make_workspace(tmp_path)
    free = type("Usage", (), {"free": 100_000})
    monkeypatch.setattr(shutil, "disk_usage", lambda path: free)
    outcome = workspace.train()
    assert outcome.code == RESOURCES
    assert "cannot be written: need 0.5 MB, have 0.1 MB" in outcome.err
    assert not workspace.output.exists()
    assert workspace.train("training.checkpoint_every=null").code == 0
