"""The run directory: what one training run leaves behind, written and read here only.

    config.yaml       the resolved configuration, with where each value came from
    definition.json   what was optimised, on what data, from which model, by which engine and versions
    metrics.jsonl     one object per logging step: only values that the run determines
    timing.jsonl      the same steps: speed and memory of this machine
    summary.json      the end: status, final metrics, token budgets, counts of rows, wall time
    model/            Hugging Face format

Every line of the two logs is written whole and flushed, so the directory can be read at any moment.
"""

from __future__ import annotations

import json
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from orpo.errors import ConfigError, ResourceError

SCHEMA_VERSION = 1
"""Written to definition.json and summary.json; grows when a reader has to change."""

Status = Literal["finished", "interrupted", "failed"]


@contextmanager
def writing(path: Path, *, left: str = "what was written before is kept") -> Generator[None]:
    """Say what could not be written and why, such as a full disk.

    Args:
        path: for the message.
        left: what the failure leaves behind, for the message.

    Raises:
        ResourceError: the system refused.
    """
    try:
        yield
    except OSError as error:
        raise ResourceError(
            f"output: {path} cannot be written: {error.strerror or error}",
            hint=f"Check the space on the disk and the permissions; {left}.",
        ) from None


def require_free(path: str | Path, *, option: str = "output=PATH") -> Path:
    """`path`, if a run may be written there; checked before a run's long preparations begin.

    Args:
        path: of the directory.
        option: how the user chooses another one, for the message.

    Raises:
        ConfigError: it is a file, below a file, or a directory that holds anything.
    """
    path = Path(path).expanduser()
    if blocker := next((parent for parent in path.parents if parent.is_file()), None):
        raise ConfigError(
            f"output: {path} cannot be made, because {blocker} is a file",
            hint=f"Choose another directory with {option}.",
        )
    if path.exists() and not path.is_dir():
        raise ConfigError(f"output: {path} is a file", hint=f"Choose another directory with {option}.")
    if path.is_dir() and any(path.iterdir()):
        holds = "another run" if (path / "config.yaml").exists() else "files"
        raise ConfigError(
            f"output: {path} already holds {holds}",
            hint=f"Nothing was overwritten. Choose another directory with {option}, or remove this one.",
        )
    return path


@dataclass(frozen=True)
class RunDirectory:
    """The run directory at `path`; `create` makes it."""

    path: Path

    @classmethod
    def create(cls, path: str | Path) -> RunDirectory:
        """Make a new run directory.

        Raises:
            ConfigError: see `require_free`.
            ResourceError: it cannot be made.
        """
        path = require_free(path)
        with writing(path):
            path.mkdir(parents=True, exist_ok=True)
        return cls(path)

    @property
    def model(self) -> Path:
        """Where the trained model goes."""
        return self.path / "model"

    def write_config(self, text: str) -> None:
        """Store the resolved configuration."""
        with writing(self.path / "config.yaml"):
            (self.path / "config.yaml").write_text(text, encoding="utf-8")

    def write_definition(self, definition: Mapping[str, Any]) -> None:
        """Store what the run is: objective, data, model, versions."""
        self._write_json("definition.json", definition)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Store how the run ended."""
        self._write_json("summary.json", summary)

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a row of values that the run determines; `step` and `split` come first."""
        self._append("metrics.jsonl", row)

    def append_timing(self, row: Mapping[str, Any]) -> None:
        """Add a row of values that the machine determines."""
        self._append("timing.jsonl", row)

    def read_definition(self) -> dict[str, Any]:
        """What `write_definition` stored."""
        return json.loads((self.path / "definition.json").read_text(encoding="utf-8"))

    def read_summary(self) -> dict[str, Any]:
        """What `write_summary` stored."""
        return json.loads((self.path / "summary.json").read_text(encoding="utf-8"))

    def read_metrics(self, split: str | None = None) -> list[dict[str, Any]]:
        """All rows of metrics.jsonl, or those of one split."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return rows if split is None else [row for row in rows if row["split"] == split]

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        staged = self.path / f"{name}.tmp"
        text = json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2, ensure_ascii=False)
        with writing(self.path / name):
            staged.write_text(text + "\n", encoding="utf-8")
            os.replace(staged, self.path / name)

    def _append(self, name: str, row: Mapping[str, Any]) -> None:
        line = json.dumps(row, allow_nan=False) + "\n"
        with writing(self.path / name), (self.path / name).open("a", encoding="utf-8") as file:
            file.write(line)
