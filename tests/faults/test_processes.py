"""What one of two processes is asked, or dies of, ends both: at once, and with the reason."""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from orpo.rundir import RunDirectory
from tests.e2e.commands import ENVIRONMENT, Workspace, make_workspace

PROGRAM = """
import os, signal, sys, time
import orpo.run.compose as compose, orpo.training.loop as loop
from orpo.cli import main
from orpo.errors import DataError

backpropagate, prepare = loop.TrainingLoop._backpropagate, compose.prepare_data
fault, rank = sys.argv.pop(1), int(os.environ["RANK"])

def at_step(self, batch):
    if rank == 1 and self.step == 2:
        act(fault, self)
    return backpropagate(self, batch)

def at_data(*arguments):
    if rank == 1 and fault == "DATA":
        raise DataError("a row that only this process cannot read")
    if rank == 1 and fault.startswith("early "):
        act(fault.removeprefix("early "), None)
    return prepare(*arguments)

def act(fault, self):
    if fault == "BUG":
        raise AssertionError("a fault of ours")
    if fault == "NAN":
        next(iter(self._parameters.values())).data.fill_(float("nan"))
    elif fault.startswith("SIG"):
        os.kill(os.getpid(), getattr(signal, fault))
        time.sleep(0.01)

loop.TrainingLoop._backpropagate, compose.prepare_data = at_step, at_data
main()
"""


@dataclass(frozen=True)
class Ended:
    """How a process ended."""

    code: int
    err: str


def run_two(workspace: Workspace, fault: str, *arguments: str) -> tuple[list[Ended], float]:
    """A run by two processes of which the second meets a fault; and seconds from one's end to the other's."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **ENVIRONMENT,
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
    }
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, fault, "train", str(workspace.config), *arguments],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    try:
        ends: list[float] = []
        while None in [process.poll() for process in processes]:
            ends += [time.monotonic()] if not ends and any(p.poll() is not None for p in processes) else []
            time.sleep(0.05)
        waited = time.monotonic() - ends[0] if ends else 0.0
        return [Ended(p.returncode, p.communicate()[1]) for p in processes], waited
    finally:
        for process in processes:
            process.kill()
            process.wait()


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def test_a_signal_to_one_process_ends_both_after_the_same_step_with_a_checkpoint(
    workspace: Workspace,
) -> None:
    (first, second), _ = run_two(workspace, "SIGTERM", "data.eval=null")
    assert (first.code, second.code) == (75, 75)
    assert "interrupted: SIGTERM to process 1 of 2, after step 3 of 4\n" in first.err
    assert "resume with: torchrun --nproc-per-node 2 -m orpo train " in first.err
    assert "interrupted" not in second.err, "one speaks for all"
    newest = RunDirectory(workspace.output).checkpoints.newest()
    assert newest is not None
    assert newest.step == 3


@pytest.mark.slow
def test_a_signal_before_training_ends_both(workspace: Workspace) -> None:
    (first, second), waited = run_two(workspace, "early SIGUSR1")
    assert (first.code, second.code) == (75, 75)
    assert f"interrupted: SIGUSR1, as process 1 on {socket.gethostname()} says" in first.err
    assert not workspace.output.exists() or not (workspace.output / "config.yaml").exists()
    assert waited < 20


def test_a_process_that_is_killed_ends_the_other_one_with_6(workspace: Workspace) -> None:
    (first, second), waited = run_two(workspace, "SIGKILL", "data.eval=null", "training.checkpoint_every=1")
    assert (first.code, second.code) == (6, -signal.SIGKILL)
    assert "another process of the run has ended without a word: it was killed" in first.err
    assert "--resume auto" in first.err
    assert "Traceback" not in first.err
    assert RunDirectory(workspace.output).read_summary()["status"] == "failed"
    assert waited < 20


@pytest.mark.parametrize(
    ("fault", "code", "reason"),
    [
        ("DATA", 3, "a row that only this process cannot read"),
        pytest.param("BUG", 1, "a fault of ours", marks=pytest.mark.slow),
    ],
)
def test_a_process_that_fails_tells_the_other_one_why(
    fault: str, code: int, reason: str, workspace: Workspace
) -> None:
    (first, second), waited = run_two(workspace, fault, "data.eval=null")
    assert (first.code, second.code) == (6, code)
    assert f"process 1 on {socket.gethostname()} has ended: {reason}" in first.err
    assert "Traceback" not in first.err
    assert waited < 20


@pytest.mark.slow
def test_weights_that_are_not_numbers_on_one_process_end_both_with_5(workspace: Workspace) -> None:
    """Each finds the same step and the same rows, whichever of them computed wrongly."""
    (first, second), _ = run_two(workspace, "NAN", "data.eval=null", "training.log_every=100")
    assert (first.code, second.code) == (5, 5), first.err + second.err
    for end in (first, second):
        assert "step 3: loss is not finite (nan)" in end.err
    assert str(workspace.output / "failure.json") in first.err
