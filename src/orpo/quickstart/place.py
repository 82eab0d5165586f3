"""Where the demonstration goes: into a directory of its own, unless the user names one."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import as_file, files
from pathlib import Path

from orpo.config import load_config


def with_place(overrides: Sequence[str], *, is_new: bool) -> list[str]:
    """`overrides` with an `output`: the bundled one, or of a new run the first of its like that is free.

    Args:
        overrides: ``key=value``.
        is_new: whether nothing is to be resumed.
    """
    if any(override.startswith("output=") for override in overrides):
        return [*overrides]
    with as_file(files("orpo.quickstart")) as folder:
        output = Path(load_config(str(folder / "config.yaml"), overrides).config.output)
    return [*overrides, f"output={_free(output) if is_new else output}"]


def _free(output: Path) -> Path:
    """`output`, or the first of `output-2`, `output-3` … that does not exist."""
    number, candidate = 1, output
    while candidate.expanduser().exists():
        number += 1
        candidate = output.with_name(f"{output.name}-{number}")
    return candidate
