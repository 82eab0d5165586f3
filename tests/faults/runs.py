"""A run of 20 steps that uses what a checkpoint has to bring back, in processes forked from this one.

Forking is sound while this process has one thread only, so it imports PyTorch, and never computes with it.
"""

from __future__ import annotations

import os
import socket
import sys
import threading
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas  # noqa: F401  which pyarrow would import in every process
import transformers.models.llama.modeling_llama  # noqa: F401
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.run import train
from tests.faults.killing import KILLED, Changes
from tests.rows import write_rows

STEPS = 20

COMPARED = ("metrics.jsonl", "model", f"checkpoints/step-{STEPS}")
"""What a run that was killed and went on leaves like one that was not; in checkpoints, tensors only."""


@dataclass(frozen=True)
class Kill:
    """When a process ends."""

    step: int | None = None
    """Right after the update of this step, before anything is said of it."""

    change: int | None = None
    """Before this change of the run directory, counted from 1."""

    rank: int = 0
    """Which process."""

    def __str__(self) -> str:
        moment = f"step {self.step}" if self.step is not None else f"change {self.change}"
        return moment + (f" of process {self.rank}" if self.rank else "")


class _KillAtStep(TrainerCallback):
    def __init__(self, step: int) -> None:
        self._step = step

    def on_optimizer_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.global_step + 1 == self._step:
            os._exit(KILLED)


@dataclass(frozen=True)
class Bench:
    """A folder with a model and data, in which runs are made."""

    folder: Path
    processes: int = 1

    dropout: float = 0.2
    """Of the adapters: draws random numbers."""

    def prepare(self) -> None:
        """Write the data and, in a process of its own, the model."""
        write_rows(self.folder / "train.jsonl", 44)
        write_rows(self.folder / "eval.jsonl", 6)
        assert wait_for([forked(self._write_model, self.folder / "model.log")]) == [0]

    def _write_model(self) -> None:
        from tests.tiny import save_tiny_model

        save_tiny_model(self.folder / "model")

    def config(self, output: Path) -> dict[str, Any]:
        """Adapters; rows of the logs and evaluations between
        checkpoints; a last batch that is smaller; a best step that is kept."""
        return {
            "model": {
                "name": str(self.folder / "model"),
                "lora": {"r": 2, "dropout": self.dropout, "target": ["q_proj"]},
            },
            "data": {"train": str(self.folder / "train.jsonl"), "eval": str(self.folder / "eval.jsonl")},
            "training": {
                "batch_size": 8,
                "max_steps": STEPS,
                "max_tokens": 200,
                "layout": "shared",
                "learning_rate": 0.03,
                "log_every": 3,
                "eval_every": 7,
                "select": "best",
                "checkpoint_every": 5,
            },
            "output": str(output),
        }

    def run(self, output: Path, *, kill: Kill | None = None, resume: bool = False) -> list[int]:
        """Train in processes of their own, whose exit codes come back; what they say goes to OUTPUT.log."""
        port = free_port()
        log = output.with_suffix(".log")
        return wait_for(
            [
                forked(lambda rank=rank: self._train(output, rank, port, kill, resume), log)
                for rank in range(self.processes)
            ]
        )

    def changes(self, output: Path) -> list[str]:
        """What `run` has noted of the changes to the run directory."""
        return output.with_suffix(".changes").read_text(encoding="utf-8").splitlines()

    def _train(self, output: Path, rank: int, port: int, kill: Kill | None, resume: bool) -> None:
        if self.processes > 1:
            os.environ.update(
                RANK=str(rank),
                LOCAL_RANK=str(rank),
                WORLD_SIZE=str(self.processes),
                LOCAL_WORLD_SIZE=str(self.processes),
                MASTER_ADDR="127.0.0.1",
                MASTER_PORT=str(port),
            )
        mine = kill if kill is not None and kill.rank == rank else Kill()
        changes = Changes(output, mine.change)
        changes.install()
        callbacks = [_KillAtStep(mine.step)] if mine.step is not None else []
        train(self.config(output), callbacks=callbacks, resume="auto" if resume else None)
        if rank == 0:
            output.with_suffix(".changes").write_text("\n".join(changes.names), encoding="utf-8")


def differences(left: Path, right: Path) -> list[str]:
    """The files that two runs should share byte for byte and do not."""
    found: list[str] = []
    for part in COMPARED:
        paths = {
            path.relative_to(run)
            for run in (left, right)
            for path in ([run / part] if (run / part).is_file() else (run / part).rglob("*"))
            if path.suffix in (".safetensors", ".jsonl")
        }
        assert paths, f"{part} is in neither run"
        found += [str(path) for path in sorted(paths) if _content(left / path) != _content(right / path)]
    return found


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def forked(work: Callable[[], None], log: Path) -> int:
    """Begin `work` in a copy of this process; returns its id.

    Args:
        work: its exit code is 0 if it returns, 1 if it raises.
        log: where it says what it says.
    """
    assert threading.active_count() == 1, "other threads would be missing in the copy, and hold their locks"
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        target = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(target, 1)
        os.dup2(target, 2)
        work()
        code = 0
    except BaseException:  # noqa: BLE001  a copy of the process must not go on as the process
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def wait_for(children: Sequence[int]) -> list[int]:
    """The exit codes of processes."""
    return [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]
