"""The command that goes on with a run."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping, Sequence


def how_to_resume(config: str, overrides: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """The line to type, for a run that was started with these arguments.

    Args:
        config: what `orpo train` was given.
        overrides: ``key=value``.
        environment: of this process, which tells how it was started.
    """
    command = shlex.join(["train", config, *overrides, "--resume", "auto"])
    processes, here = environment.get("WORLD_SIZE", "1"), environment.get("LOCAL_WORLD_SIZE")
    if processes == "1":
        return f"orpo {command}"
    if processes == here:
        return f"torchrun --nproc-per-node {here} -m orpo {command}"
    return f"torchrun, on every node as before, -m orpo {command}"
