"""How a process was started is told from what its launcher says."""

from __future__ import annotations

import pytest

from orpo.errors import ConfigError
from orpo.launch import Launch, joinable, this_launch

TORCHRUN = {
    "RANK": "3",
    "WORLD_SIZE": "4",
    "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
    "MASTER_ADDR": "node1",
    "MASTER_PORT": "29500",
}

SRUN = {
    "SLURM_JOB_ID": "4711",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_TASKS": "7",
    "SLURM_STEP_NODELIST": "gpu[03-04,07]",
    "SLURM_STEP_TASKS_PER_NODE": "2(x2),3",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_NODEID": "2",
}


def test_a_process_without_a_launcher_is_alone_and_the_main_one() -> None:
    assert this_launch({}) == Launch(0, 1, 0, 1, None)
    assert this_launch({"WORLD_SIZE": "1", **SRUN}).launcher is None, "torchrun with a single process"
    assert joinable({}).is_main


def test_torchrun_says_everything() -> None:
    launch = joinable(TORCHRUN)
    assert launch == Launch(3, 4, 1, 2, "torchrun", "node1", 29500)
    assert launch.variables == TORCHRUN
    assert not launch.is_main


def test_srun_says_it_in_its_own_words() -> None:
    assert joinable(SRUN) == Launch(5, 7, 1, 3, "srun", "gpu03", 24711)
    assert joinable({**SRUN, "SLURM_NODEID": "1"}).local_size == 2


def test_torchrun_that_srun_has_started_counts() -> None:
    assert joinable({**SRUN, **TORCHRUN}).launcher == "torchrun"


def test_a_batch_script_is_alone_whatever_its_job_has_asked_for() -> None:
    script = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "8", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"}
    assert this_launch(script) == Launch()


@pytest.mark.parametrize(
    ("nodes", "first"),
    [
        ("node7", "node7"),
        ("node7,node9", "node7"),
        ("gpu[003-010]", "gpu003"),
        ("gpu[5,7-9],login1", "gpu5"),
        ("r1n[01-02]-ib,r2n01-ib", "r1n01-ib"),
    ],
)
def test_processes_meet_on_the_first_node(nodes: str, first: str) -> None:
    assert joinable({**SRUN, "SLURM_STEP_NODELIST": nodes}).address == first


def test_where_srun_s_processes_meet_can_be_said() -> None:
    launch = joinable({**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "1234"})
    assert (launch.address, launch.port) == ("10.0.0.1", 1234)


def test_without_a_list_of_nodes_the_address_is_asked_for() -> None:
    lost = {name: value for name, value in SRUN.items() if name != "SLURM_STEP_NODELIST"}
    with pytest.raises(ConfigError, match="srun started 7 processes, but neither MASTER_ADDR nor") as refusal:
        joinable(lost)
    assert "Set MASTER_ADDR" in (refusal.value.hint or "")


@pytest.mark.parametrize("name", ["RANK", "MASTER_ADDR", "MASTER_PORT"])
def test_a_variable_that_is_missing_is_named(name: str) -> None:
    rest = {key: value for key, value in TORCHRUN.items() if key != name}
    with pytest.raises(ConfigError, match=f"WORLD_SIZE is 4, but {name} is not set"):
        joinable(rest)


def test_deepspeed_is_answered_with_what_there_is() -> None:
    with pytest.raises(ConfigError, match="DeepSpeed, which orpo does not use") as refusal:
        joinable({**TORCHRUN, "ACCELERATE_USE_DEEPSPEED": "true"})
    assert "training.parallel=fsdp" in (refusal.value.hint or "")
    assert joinable({**TORCHRUN, "ACCELERATE_USE_DEEPSPEED": "false"}).size == 4
