"""Runs the command line, within this process or as a process of its own, on a workspace made for it."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from typer.testing import CliRunner

from orpo.cli import app
from tests.rows import write_rows
from tests.tiny import save_tiny_model

ORPO = Path(sys.executable).with_name("orpo")
"""The command as it was installed."""

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}

HEAVY_MODULES = {"torch", "transformers", "peft", "datasets", "accelerate"}
"""What takes seconds to import, and is not wanted where nothing is computed."""


@dataclass(frozen=True)
class Outcome:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str


def run_process(*command: str | Path) -> Outcome:
    """Run a command as a process of its own, without a terminal."""
    done = subprocess.run(
        [str(part) for part in command],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Outcome(done.returncode, done.stdout, done.stderr)


def invoke(*arguments: str | Path) -> Outcome:
    """Run `orpo` within this process; an exception that would be a traceback is raised."""
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Outcome(result.exit_code, result.stdout, result.stderr)


def modules_loaded_by(*arguments: str | Path) -> set[str]:
    """Names of the modules that `orpo` has imported when it ends, with exit code 0."""
    argv = ["orpo", *map(str, arguments)]
    program = (
        f"import sys; sys.argv = {argv!r}; from orpo.cli import main\n"
        "try:\n    main()\nfinally:\n    sys.stderr.write(' '.join(sys.modules))"
    )
    outcome = run_process(sys.executable, "-c", program)
    assert outcome.code == 0, outcome.err
    return set(outcome.err.split())


@dataclass(frozen=True)
class Workspace:
    """A tiny model, 24 training pairs, 6 held-out pairs, and a configuration that trains for 4 steps."""

    folder: Path

    @property
    def config(self) -> Path:
        return self.folder / "config.yaml"

    @property
    def output(self) -> Path:
        return self.folder / "run"

    def train(self, *overrides: str) -> Outcome:
        """`orpo train` within this process."""
        return invoke("train", self.config, *overrides)


def make_workspace(folder: Path) -> Workspace:
    """Write a workspace into `folder`."""
    workspace = Workspace(folder)
    save_tiny_model(folder / "model")
    write_rows(folder / "train.jsonl", 24)
    write_rows(folder / "eval.jsonl", 6)
    workspace.config.write_text(
        f"""\
model: {folder / "model"}
data:
  train: {folder / "train.jsonl"}
  eval: {folder / "eval.jsonl"}
training:
  batch_size: 8
  max_steps: 4
  learning_rate: 1e-3
  log_every: 1
  eval_every: 2
output: {workspace.output}
""",
        encoding="utf-8",
    )
    return workspace
