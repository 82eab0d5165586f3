"""What verbs about data take as an argument."""

from __future__ import annotations

from pathlib import Path


def is_config(source: str) -> bool:
    """Whether an argument names the YAML file of a run, rather than data."""
    return Path(source).suffix in (".yaml", ".yml")
