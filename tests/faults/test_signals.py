"""Ctrl-C, SIGTERM and SIGUSR1 in every phase: exit code 75, nothing broken, and the line that goes on.

The signal is sent from within the process, at a moment that a patch finds, so that no test waits for one.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orpo import train
from orpo.config import load_config
from orpo.errors import Interrupted
from orpo.rundir import RunDirectory
from tests.e2e.commands import ENVIRONMENT, ORPO, Workspace, invoke, make_workspace

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1]
NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGUSR1: "SIGUSR1"}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def send_when_called(
    monkeypatch: pytest.MonkeyPatch, target: str, number: int = signal.SIGTERM, *, call: int = 1
) -> None:
    """Send this process a signal when a function is called for the nth time."""
    module, _, name = target.rpartition(".")
    holder: Any = sys.modules.get(module)
    if holder is None:
        module, _, kind = module.rpartition(".")
        holder = getattr(sys.modules[module], kind)
    original: Callable[..., Any] = getattr(holder, name)
    calls = 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # a bytecode at which the handler runs
        return original(*arguments, **options)

    monkeypatch.setattr(holder, name, wrapped)


# Before there is something to go on with


@pytest.mark.parametrize("number", SIGNALS, ids=NAMES.get)
@pytest.mark.parametrize(
    "target", ["orpo.run.compose.load_model", "orpo.run.compose.prepare_data"], ids=["download", "tokenise"]
)
def test_before_training_it_ends_at_once_and_leaves_nothing(
    target: str, number: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_when_called(monkeypatch, target, number)
    outcome = workspace.train()
    assert outcome.code == 75
    assert outcome.err.splitlines()[-2:] == [
        f"interrupted: {NAMES[signal.Signals(number)]}",
        "The same command begins again; what was prepared is kept.",
    ]
    assert not workspace.output.exists()


def test_what_was_tokenised_is_kept(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second of two sources is on its way."""
    with monkeypatch.context() as patch:
        send_when_called(patch, "orpo.data.preparation.cache.write_entry", call=2)
        assert workspace.train("data.cache=" + str(workspace.folder / "cache")).code == 75
    assert len(list((workspace.folder / "cache").rglob("manifest.json"))) == 1
    outcome = workspace.train("data.cache=" + str(workspace.folder / "cache"), "training.max_steps=1")
    assert outcome.code == 0
    assert "train: read from cache" in outcome.err
    assert "eval: read from cache" not in outcome.err


def test_other_verbs_end_with_the_same_code(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    import orpo.doctor.examine  # noqa: F401

    send_when_called(monkeypatch, "orpo.doctor.examine.examine")
    outcome = invoke("data", "check", workspace.folder / "train.jsonl")
    assert (outcome.code, outcome.out) == (75, "")


# Between the first step and the last


def resume_line(err: str) -> list[str]:
    """The command that the message says goes on, as arguments."""
    line = next(line for line in err.splitlines() if line.startswith("resume with: orpo "))
    return shlex.split(line.removeprefix("resume with: orpo "))


@pytest.mark.parametrize("number", SIGNALS, ids=NAMES.get)
def test_a_step_is_finished_and_saved_and_the_line_goes_on_to_the_same_bytes(
    number: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = workspace.folder / "whole"
    assert workspace.train(f"output={whole}").code == 0
    with monkeypatch.context() as patch:
        send_when_called(patch, "orpo.training.loop.TrainingLoop._backpropagate", number, call=3)
        outcome = workspace.train()
    assert outcome.code == 75
    assert f"interrupted: {NAMES[signal.Signals(number)]}, after step 3 of 4\n" in outcome.err
    assert (workspace.output / "checkpoints" / "step-3").is_dir()
    assert RunDirectory(workspace.output).read_summary()["status"] == "interrupted"

    assert invoke(*resume_line(outcome.err)).code == 0
    for name in ("metrics.jsonl", "model/model.safetensors"):
        assert (workspace.output / name).read_bytes() == (whole / name).read_bytes(), name


@pytest.mark.parametrize("evaluation", [2, 3], ids=["between", "last"])
def test_an_evaluation_ends_between_forward_passes_and_is_done_again(
    evaluation: int, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each evaluation has 6 pairs and a forward pass for each; evaluations are at steps 0, 2 and 4."""
    settings = ("training.max_tokens=1",)
    whole = workspace.folder / "whole"
    assert workspace.train(f"output={whole}", *settings).code == 0
    with monkeypatch.context() as patch:
        call = 6 * (evaluation - 1) + 3
        send_when_called(patch, "orpo.training.loop.TrainingLoop._after_forward", call=call)
        outcome = workspace.train(*settings)
    assert outcome.code == 75
    step = 2 * (evaluation - 1)
    assert f", after step {step} of 4\n" in outcome.err
    run = RunDirectory(workspace.output)
    assert [row["step"] for row in run.read_metrics("eval")] == [0, 2, 4][: evaluation - 1], "no half of one"

    assert invoke(*resume_line(outcome.err)).code == 0
    assert (workspace.output / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()


def test_the_first_evaluation_ends_too_and_the_run_begins_anew(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        send_when_called(patch, "orpo.training.loop.TrainingLoop._after_forward")
        outcome = workspace.train()
    assert outcome.code == 75
    assert RunDirectory(workspace.output).read_metrics() == []
    assert invoke(*resume_line(outcome.err)).code == 0
    assert RunDirectory(workspace.output).read_summary()["steps"] == 4


def test_a_save_is_finished_whatever_arrives_meanwhile(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import orpo.training.checkpoint.writer  # noqa: F401

    for number, call in ((signal.SIGTERM, 1), (signal.SIGUSR1, 2)):
        send_when_called(monkeypatch, "orpo.training.checkpoint.writer.write_contents", number, call=call)
    outcome = workspace.train("training.checkpoint_every=2")
    assert outcome.code == 75
    assert "after step 2 of 4" in outcome.err
    checkpoints = RunDirectory(workspace.output).checkpoints
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 2


def test_a_run_that_saves_its_model_already_finishes(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    send_when_called(monkeypatch, "orpo.run.compose.save_model")
    assert workspace.train().code == 0
    assert RunDirectory(workspace.output).read_summary()["status"] == "finished"


def test_from_python_it_is_an_exception_that_says_whether_there_is_something_to_go_on_with(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = signal.getsignal(signal.SIGTERM)
    send_when_called(monkeypatch, "orpo.training.loop.TrainingLoop._backpropagate")
    with pytest.raises(Interrupted, match="SIGTERM, after step 1 of 4") as caught:
        train(load_config(workspace.config))
    assert caught.value.resumable
    assert signal.getsignal(signal.SIGTERM) == before


# As a process of its own


def started(workspace: Workspace, *overrides: str) -> subprocess.Popen[str]:
    """A run that never ends by itself, in training."""
    command = [
        str(ORPO),
        "train",
        str(workspace.config),
        "training.max_steps=1000000",
        "data.eval=null",
        *overrides,
    ]
    process = subprocess.Popen(command, env=ENVIRONMENT, stderr=subprocess.PIPE, text=True)
    metrics = workspace.output / "metrics.jsonl"
    deadline = time.monotonic() + 60
    while not (metrics.exists() and metrics.read_bytes().count(b"\n") > 2):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def test_ctrl_c_ends_a_process_with_75_and_no_traceback(workspace: Workspace) -> None:
    process = started(workspace)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 75, err
    assert "Traceback" not in err
    summary = RunDirectory(workspace.output).read_summary()
    assert err.splitlines()[-2] == f"interrupted: Ctrl-C, after step {summary['steps']} of 1000000"
    assert err.splitlines()[-1] == (
        f"resume with: orpo train {workspace.config} training.max_steps=1000000 data.eval=null --resume auto"
    )


def test_a_second_ctrl_c_in_a_step_ends_at_once_and_the_checkpoint_before_it_is_whole(
    workspace: Workspace,
) -> None:
    """The second step's gradient takes an hour."""
    program = """
import sys, time
from orpo.cli import main
import orpo.training.loop as loop
backpropagate = loop.TrainingLoop._backpropagate
def slow(self, batch):
    if self.step == 3:
        time.sleep(3600)
    return backpropagate(self, batch)
loop.TrainingLoop._backpropagate = slow
main()
"""
    arguments = ["train", str(workspace.config), "training.checkpoint_every=2", "data.eval=null"]
    process = subprocess.Popen(
        [sys.executable, "-c", program, *arguments], env=ENVIRONMENT, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("step 3/4"):
            break
    process.send_signal(signal.SIGINT)
    assert "Ctrl-C again ends at once" in process.stderr.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == 130
    process.stderr.close()
    newest = RunDirectory(workspace.output).checkpoints.newest()
    assert newest is not None
    assert newest.step == 2
    assert workspace.train("training.checkpoint_every=2", "data.eval=null", "--resume", "auto").code == 0
