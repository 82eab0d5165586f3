"""Progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.text import duration


@contextmanager
def counting(console: Console | None, what: str, total: int) -> Iterator[Callable[[int], None]]:
    """A bar for work of known size; yields a function that takes the number of things just done.

    Args:
        console: where to show it; nothing is shown without one, or where it is no terminal.
        what: what is being done.
        total: how many things there are.
    """
    if console is None or not console.is_terminal:
        yield lambda count: None
        return
    with Progress(
        TextColumn(what), BarColumn(), MofNCompleteColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(what, total=total)
        yield lambda count: bar.advance(task, count)


class ProgressCallback(TrainerCallback):
    """Shows loss, accuracy, margin, pairs/s and time left.

    Args:
        console: where to write; decides by itself whether it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task = TaskID(0)
        self._started = 0.0

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        self._started = time.perf_counter()
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("[bold]step"),
                MofNCompleteColumn(),
                BarColumn(bar_width=24),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._bar.add_task("evaluating", total=state.max_steps)
            self._bar.start()

    def on_step_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._bar is not None:
            self._bar.update(self._task, completed=state.global_step)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **details: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        logs: dict[str, float] = details["logs"]
        if "eval_loss" in logs:
            self._write(f"step {state.global_step:>5}  {_metrics(logs, 'eval_')}")
            return
        spent = time.perf_counter() - self._started
        left = spent / state.global_step * (state.max_steps - state.global_step)
        line = f"{_metrics(logs, '')}  {logs['pairs_per_second']:.1f} pairs/s  {duration(left)} left"
        if self._bar is not None:
            self._bar.update(self._task, description=line)
        else:
            self._write(f"step {state.global_step:>5}/{state.max_steps}  {line}")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; safe to call at any time."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _write(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)


def _metrics(logs: dict[str, float], prefix: str) -> str:
    margin = logs[f"{prefix}logps/chosen"] - logs[f"{prefix}logps/rejected"]
    return (
        f"{'eval' if prefix else 'train'}  loss {logs[f'{prefix}loss']:.4f}"
        f"  accuracy {logs[f'{prefix}rewards/accuracies']:.3f}  margin {margin:+.4f}"
    )
