"""The command that this process is, as somebody would type it again."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from pathlib import PurePath

from orpo.credentials import redact
from orpo.launch import this_launch

_OURS = {"orpo", "orpo.exe", "__main__.py"}
"""What the interpreter is started with, by name, where it is this program."""


def command_line(arguments: Sequence[str] | None = None, environment: Mapping[str, str] = os.environ) -> str:
    """The command of this process, without credentials.

    Args:
        arguments: of the interpreter, this process's unless they are given.
        environment: of this process.
    """
    program, *rest = sys.argv if arguments is None else arguments
    if PurePath(program).name in _OURS:
        return redact(launched(rest, environment))
    return redact(shlex.join(["python", program, *rest]))


def launched(arguments: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """The line that starts `orpo` as this process was started: alone, or as one of several.

    Args:
        arguments: of `orpo`.
        environment: of this process, which tells how it was started.
    """
    command = shlex.join(arguments)
    launch = this_launch(environment)
    if launch.launcher is None:
        return f"orpo {command}"
    if launch.launcher == "srun":
        return f"srun, as before, orpo {command}"
    if launch.size == launch.local_size:
        return f"torchrun --nproc-per-node {launch.size} -m orpo {command}"
    return f"torchrun, on every node as before, -m orpo {command}"
