"""The run directory's files: settings, logs, summary, model.

    config.yaml       the resolved configuration, with where each value came from
    definition.json   what was optimised, on what data, from which model, by which engine and versions
    metrics.jsonl     one object per logging step: only values that the run determines
    timing.jsonl      the same steps: speed and memory of this machine
    failure.json      the step that ended the run because its numbers were not finite, pair by pair
    summary.json      the end: status, final metrics, token budgets, counts of rows, wall time
    model/            Hugging Face format
    checkpoints/      what the run goes on from; see `orpo.rundir.checkpoints`
    evaluation/       what was found out about the model afterwards; see `orpo.rundir.evaluations`
    run.lock          held while a process works on the run, which run.lock.json names

Every line of the two logs is written whole and flushed, so the directory can be read at any moment.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from orpo.credentials import redact
from orpo.errors import ConfigError, ResourceError
from orpo.files import replace_file, sync, unfinished
from orpo.rundir.checkpoints import CheckpointFolder
from orpo.rundir.log import Log

SCHEMA_VERSION = 1
"""Written to definition.json and summary.json; grows when a reader has to change."""

Status = Literal["finished", "interrupted", "failed"]

LOCK, HOLDER = "run.lock", "run.lock.json"

CONFIG, DEFINITION, SUMMARY, FAILURE, METRICS, TIMING = (
    "config.yaml",
    "definition.json",
    "summary.json",
    "failure.json",
    "metrics.jsonl",
    "timing.jsonl",
)

_BEFORE_A_RUN = {LOCK, HOLDER, unfinished(Path(CONFIG)).name}
"""What a directory may hold that no run has begun in."""


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


def require_directory(path: Path, *, option: str = "output=PATH") -> None:
    """Refuse what is no directory and cannot become one.

    Args:
        path: of the directory.
        option: how the user chooses another one, for the message.

    Raises:
        ConfigError: it is a file, or below a file.
    """
    if blocker := next((parent for parent in path.parents if parent.is_file()), None):
        raise ConfigError(
            f"output: {path} cannot be made, because {blocker} is a file",
            hint=f"Choose another directory with {option}.",
        )
    if path.exists() and not path.is_dir():
        raise ConfigError(f"output: {path} is a file", hint=f"Choose another directory with {option}.")


def require_free(path: str | Path, *, option: str = "output=PATH") -> Path:
    """`path`, if a run may be written there; checked before a run's long preparations begin.

    Args:
        path: of the directory.
        option: how the user chooses another one, for the message.

    Raises:
        ConfigError: it is a file, below a file, or a directory that holds anything.
    """
    path = Path(path).expanduser()
    require_directory(path, option=option)
    if path.is_dir() and any(item.name not in _BEFORE_A_RUN for item in path.iterdir()):
        holds = "another run" if (path / CONFIG).exists() else "files"
        raise ConfigError(
            f"output: {path} already holds {holds}",
            hint=f"Nothing was overwritten. Choose another directory with {option}, or remove this one.",
        )
    return path


@dataclass(frozen=True)
class RunDirectory:
    """The run directory at `path`; `create` makes it."""

    path: Path

    @cached_property
    def _logs(self) -> dict[str, Log]:
        return {name: Log(self.path / name) for name in (METRICS, TIMING)}

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

    @property
    def checkpoints(self) -> CheckpointFolder:
        """What the run goes on from."""
        return CheckpointFolder(self.path / "checkpoints")

    @property
    def config(self) -> Path:
        """Where the resolved configuration is, once a run has begun here."""
        return self.path / CONFIG

    @property
    def is_finished(self) -> bool:
        """Whether the run has come to its end."""
        return (self.path / SUMMARY).exists() and self.read_summary()["status"] == "finished"

    def write_config(self, text: str) -> None:
        """Store the resolved configuration."""
        with writing(self.config):
            replace_file(self.config, text.encode(), durable=True)

    def write_definition(self, definition: Mapping[str, Any]) -> None:
        """Store what the run is: objective, data, model, versions."""
        self._write_json(DEFINITION, definition)

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Store how the run ended; rows of the logs that waited for space come first."""
        with writing(self.path):
            for log in self._logs.values():
                log.finish()
        self._write_json(SUMMARY, summary)

    def write_failure(self, failure: Mapping[str, Any]) -> Path:
        """Store which step's numbers were not finite, and why; returns where."""
        self._write_json(FAILURE, failure)
        return self.path / FAILURE

    def append_metrics(self, row: Mapping[str, Any]) -> None:
        """Add a row of values that the run determines; `step` and `split` come first."""
        with writing(self.path / METRICS):
            self._logs[METRICS].append(row)

    def append_timing(self, row: Mapping[str, Any]) -> None:
        """Add a row of values that the machine determines."""
        with writing(self.path / TIMING):
            self._logs[TIMING].append(row)

    def log_sizes(self) -> dict[str, int]:
        """Bytes of each log so far, all of which outlast a power cut from then on.

        Raises:
            OSError: the system refused.
        """
        return {name: log.settle() for name, log in self._logs.items()}

    def go_on(self, sizes: Mapping[str, int]) -> None:
        """Take back what was written after a checkpoint: rows of the logs, and the account of the end.

        Args:
            sizes: what `log_sizes` said at the checkpoint.
        """
        with writing(self.path):
            for name in (SUMMARY, FAILURE):
                self._remove(name)
            for name, log in self._logs.items():
                log.cut(sizes[name])

    def forget(self) -> None:
        """Remove what a run has left that stopped before its first checkpoint, but for its configuration.

        That is replaced at once when the run begins again, so that at every moment the directory is a run's.
        """
        with writing(self.path):
            for folder in (self.model, self.checkpoints.path):
                if folder.exists():
                    shutil.rmtree(folder)
            for name in (METRICS, TIMING, SUMMARY, FAILURE, DEFINITION):
                self._remove(name)

    def earlier_commands(self) -> list[str]:
        """The commands on record; none where it is damaged, since each of them writes it anew."""
        try:
            return self.read_definition().get("commands", [])
        except (FileNotFoundError, ValueError):
            return []

    def read_definition(self) -> dict[str, Any]:
        """What `write_definition` stored."""
        return json.loads((self.path / DEFINITION).read_text(encoding="utf-8"))

    def read_summary(self) -> dict[str, Any]:
        """What `write_summary` stored."""
        return json.loads((self.path / SUMMARY).read_text(encoding="utf-8"))

    def read_metrics(self, split: str | None = None) -> list[dict[str, Any]]:
        """All rows of metrics.jsonl, or those of one split."""
        path = self.path / METRICS
        if not path.exists():
            return []
        rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
        return rows if split is None else [row for row in rows if row["split"] == split]

    def _remove(self, name: str) -> None:
        """Remove a file, and one that was to replace it."""
        for path in (self.path / name, unfinished(self.path / name)):
            path.unlink(missing_ok=True)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        text = redact(json.dumps({"schema_version": SCHEMA_VERSION, **value}, indent=2, ensure_ascii=False))
        with writing(self.path / name):
            replace_file(self.path / name, (text + "\n").encode(), durable=True)
            sync(self.path)
