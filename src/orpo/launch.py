"""How this process was started: alone, or as one of several by torchrun, accelerate or SLURM's srun."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from orpo.errors import ConfigError

_RENDEZVOUS = ("RANK", "MASTER_ADDR", "MASTER_PORT")
"""Variables with which torchrun tells a process of several who it is and where the others are."""

_FIRST_HOST = re.compile(r"([^\[,]+)(?:\[(\d+)[^\]]*\]([^\[,]*))?")
"""The first of SLURM's list of hosts, such as `gpu[03-05,07],login1`."""

_PORTS = 20_000, 40_000
"""From which to which a job's number gives a port, so that jobs on a node do not meet."""


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together."""

    rank: int = 0
    size: int = 1

    local_rank: int = 0
    """Among those of this machine."""

    local_size: int = 1

    launcher: Literal["torchrun", "srun"] | None = None
    """What started them; torchrun is all that sets the same variables."""

    address: str = ""
    port: int = 0
    """Where they meet; nothing of one that is alone."""

    @property
    def is_main(self) -> bool:
        """Whether this is the one process that speaks for all."""
        return self.rank == 0

    @property
    def variables(self) -> dict[str, str]:
        """The same in torchrun's words."""
        return {
            "RANK": str(self.rank),
            "WORLD_SIZE": str(self.size),
            "LOCAL_RANK": str(self.local_rank),
            "LOCAL_WORLD_SIZE": str(self.local_size),
            "MASTER_ADDR": self.address,
            "MASTER_PORT": str(self.port),
        }


def this_launch(environment: Mapping[str, str] = os.environ) -> Launch:
    """How this process was started, as far as its environment tells.

    torchrun's variables come first, so that srun can start it.  A batch script is no step of a SLURM job:
    what it runs without srun is alone, whatever the job has asked for.
    """
    size = int(environment.get("WORLD_SIZE", "0"))
    if size > 1:
        return Launch(
            rank=int(environment.get("RANK", "0")),
            size=size,
            local_rank=int(environment.get("LOCAL_RANK", "0")),
            local_size=int(environment.get("LOCAL_WORLD_SIZE", size)),
            launcher="torchrun",
            address=environment.get("MASTER_ADDR", ""),
            port=int(environment.get("MASTER_PORT", "0")),
        )
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", environment.get("SLURM_NTASKS", "1")))
    if not size and "SLURM_STEP_ID" in environment and tasks > 1:
        return _by_srun(environment, tasks)
    return Launch()


def joinable(environment: Mapping[str, str] = os.environ) -> Launch:
    """`this_launch`, if its processes can find each other.

    Raises:
        ConfigError: a variable is missing; or DeepSpeed was asked for.
    """
    if environment.get("ACCELERATE_USE_DEEPSPEED", "").lower() == "true":
        raise ConfigError(
            "accelerate is configured for DeepSpeed, which orpo does not use",
            hint="Set training.parallel=fsdp, which shares out what ZeRO-3 does (training.cpu_offload is its "
            "offload), and start with torchrun or `accelerate launch --multi_gpu`.",
        )
    launch = this_launch(environment)
    if launch.launcher == "torchrun":
        if missing := [name for name in _RENDEZVOUS if name not in environment]:
            raise ConfigError(
                f"WORLD_SIZE is {launch.size}, but {', '.join(missing)} is not set",
                hint="Start several processes with torchrun; for one process, unset WORLD_SIZE.",
            )
    elif launch.launcher == "srun" and not launch.address:
        raise ConfigError(
            f"srun started {launch.size} processes, but neither MASTER_ADDR nor SLURM_STEP_NODELIST says "
            "where the first of them is",
            hint="Set MASTER_ADDR to the name of the first node.",
        )
    return launch


def _by_srun(environment: Mapping[str, str], tasks: int) -> Launch:
    low, high = _PORTS
    port = low + int(environment.get("SLURM_JOB_ID", "0")) % (high - low)
    counts = _task_counts(environment.get("SLURM_STEP_TASKS_PER_NODE", "")) or [tasks]
    node = int(environment.get("SLURM_NODEID", "0"))
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    first = _FIRST_HOST.match(nodes)
    return Launch(
        rank=int(environment.get("SLURM_PROCID", "0")),
        size=tasks,
        local_rank=int(environment.get("SLURM_LOCALID", "0")),
        local_size=counts[min(node, len(counts) - 1)],
        launcher="srun",
        address=environment.get("MASTER_ADDR")
        or ("".join(part or "" for part in first.groups()) if first else ""),
        port=int(environment.get("MASTER_PORT", port)),
    )


def _task_counts(per_node: str) -> list[int]:
    """Tasks of each node, from SLURM's way of saying it, such as `4(x2),3`."""
    return [
        int(count)
        for count, times in re.findall(r"(\d+)(?:\(x(\d+)\))?", per_node)
        for _ in range(int(times or 1))
    ]
