"""The same command under torchrun, accelerate and srun: processes that know each other, and one voice."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from orpo.rundir import RunDirectory
from tests.e2e.commands import ORPO, Workspace, make_workspace
from tests.processes import free_port, run_together

SAID_ONCE = ("train: 24 of 24 rows kept", "objective: orpo", "model written to")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def command(workspace: Workspace, *settings: str) -> list[str]:
    cache = f"data.cache={workspace.folder / 'cache'}"
    return ["train", str(workspace.config), "training.max_steps=2", cache, *settings]


def processes_of(run: RunDirectory) -> int:
    assert run.is_finished
    definition = json.loads((run.path / "definition.json").read_text(encoding="utf-8"))
    return definition["engine"]["processes"]


def entries(workspace: Workspace) -> list[str]:
    """What the data was prepared as."""
    return [path.name for path in (workspace.folder / "cache").glob("*/manifest.json")]


@pytest.mark.parametrize(
    ("launcher", "parallel"),
    [
        (["torchrun", "--nproc-per-node", "2"], "fsdp"),
        (["accelerate", "launch", "--multi_gpu", "--num_processes", "2"], "ddp"),
    ],
    ids=["torchrun", "accelerate"],
)
def test_a_launcher_of_pytorch_s_starts_a_run_of_two_processes(
    workspace: Workspace, launcher: list[str], parallel: str
) -> None:
    program, *options = launcher
    port = "--master-port" if program == "torchrun" else "--main_process_port"
    started = [str(Path(sys.executable).with_name(program)), *options, port, str(free_port()), "-m", "orpo"]
    (done,) = run_together(
        [*started, *command(workspace, f"training.parallel={parallel}")], [{}], timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert processes_of(RunDirectory(workspace.output)) == 2
    for line in SAID_ONCE:
        assert done.stderr.count(line) == 1, line
    assert len(entries(workspace)) == 2, "training and held-out pairs, prepared once for both"


def test_srun_starts_a_run_of_two_processes(workspace: Workspace) -> None:
    shared = {
        "SLURM_JOB_ID": "4711",
        "SLURM_STEP_ID": "0",
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_STEP_NODELIST": "localhost",
        "SLURM_STEP_TASKS_PER_NODE": "2",
        "SLURM_NODEID": "0",
        "MASTER_PORT": str(free_port()),
    }
    variables = [{**shared, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)} for rank in range(2)]
    first, second = run_together([str(ORPO), *command(workspace)], variables, timeout=120)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr + second.stderr
    assert processes_of(RunDirectory(workspace.output)) == 2
    for line in SAID_ONCE:
        assert line in first.stderr
        assert line not in second.stderr
    assert len(entries(workspace)) == 2
