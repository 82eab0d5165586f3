"""Several processes of a test, started as torchrun would start them."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def torchrun_variables(count: int) -> list[dict[str, str]]:
    """What torchrun tells each of `count` processes on this machine."""
    port = free_port()
    return [
        {
            "WORLD_SIZE": str(count),
            "LOCAL_WORLD_SIZE": str(count),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
        }
        for rank in range(count)
    ]


def run_together(
    command: Sequence[str], variables: Sequence[Mapping[str, str]], *, timeout: float = 300
) -> list[subprocess.CompletedProcess[str]]:
    """Run a command once for each of some sets of variables, all at the same time."""
    shared = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    processes = [
        subprocess.Popen(
            command,
            env={**os.environ, **shared, **own},
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for own in variables
    ]
    try:
        outputs = [process.communicate(timeout=timeout) for process in processes]
    finally:
        for process in processes:
            process.kill()
    return [
        subprocess.CompletedProcess(command, process.returncode, *output)
        for process, output in zip(processes, outputs, strict=True)
    ]


def run_module(module: str, *arguments: str, count: int = 2) -> None:
    """Run a module in `count` processes, each of which has to end well."""
    done = run_together([sys.executable, "-m", module, *arguments], torchrun_variables(count))
    for process in done:
        assert process.returncode == 0, process.stderr
