"""The command that goes on with a run."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from orpo.rundir.command import launched


def how_to_resume(config: str, overrides: Sequence[str], environment: Mapping[str, str] = os.environ) -> str:
    """The line to type, for a run that was started with these arguments.

    Args:
        config: what `orpo train` was given.
        overrides: ``key=value``.
        environment: of this process, which tells how it was started.
    """
    return launched(["train", config, *overrides, "--resume", "auto"], environment)
