"""Progress of a run: a live bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from orpo.text import duration, printable


@contextmanager
def counting(console: Console | None, what: str) -> Iterator[Callable[[int], None]]:
    """A line for work of unknown size; yields a function that takes the number of things just done.

    Args:
        console: where to show it; nothing is shown without one, or where it is no terminal.
        what: what is being done.
    """
    if console is None or not console.is_terminal:
        yield lambda count: None
        return
    what = printable(what)
    with Progress(
        TextColumn(what, markup=False), BarColumn(), _CountColumn(), console=console, transient=True
    ) as bar:
        task = bar.add_task(what, total=None)
        yield lambda count: bar.advance(task, count)


@contextmanager
def advancing(
    console: Console | None, what: str, total: int, done: int = 0
) -> Iterator[Callable[[int], None]]:
    """A bar for work of known size; yields a function that takes the number of things just done.

    Args:
        console: where to show it: a bar on a terminal, elsewhere a line now and then; None shows nothing.
        what: what is being done.
        total: things to do.
        done: things that were done before.
    """
    if console is None:
        yield lambda count: None
    elif console.is_terminal:
        columns = (TextColumn(printable(what), markup=False), BarColumn(), MofNCompleteColumn())
        with Progress(*columns, TimeRemainingColumn(), console=console, transient=True) as bar:
            task = bar.add_task("", total=total, completed=done)
            yield lambda count: bar.advance(task, count)
    else:
        yield _Lines(console, what, total, done)


class _Lines:
    """Says how far work is, at most every so often."""

    EVERY = 30.0
    """Seconds."""

    def __init__(self, console: Console, what: str, total: int, done: int) -> None:
        self._console = console
        self._what = what
        self._total = total
        self._done = done
        self._said = time.monotonic()

    def __call__(self, count: int) -> None:
        self._done += count
        if time.monotonic() - self._said >= self.EVERY:
            self._said = time.monotonic()
            self._console.print(f"{self._what}  {self._done}/{self._total}", markup=False, highlight=False)


class _CountColumn(ProgressColumn):
    """Things done, and how many of them per second."""

    def render(self, task: Task) -> Text:
        """See `ProgressColumn`."""
        rate = f"  {task.speed:,.0f}/s" if task.speed is not None else ""
        return Text(f"{task.completed:,.0f}{rate}")


class _LiveBar(Progress):
    """A bar, and below it a line of metrics, which would not fit beside it on 80 columns."""

    line = ""

    def get_renderables(self) -> Iterable[RenderableType]:
        yield from super().get_renderables()
        yield Text(self.line, no_wrap=True, overflow="ellipsis")


class ProgressCallback(TrainerCallback):
    """Shows loss, accuracy, margin, pairs/s and time left.

    Args:
        console: where to write; decides by itself whether it is a terminal.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: _LiveBar | None = None
        self._task = TaskID(0)
        self._started = 0.0
        self._first = 0
        """The step at which this process began."""

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if not state.is_world_process_zero:
            return
        self._started, self._first = time.perf_counter(), state.global_step
        if self._console.is_terminal:
            self._bar = _LiveBar(
                TextColumn("[bold]step"),
                MofNCompleteColumn(),
                BarColumn(),
                TextColumn("{task.description}"),
                console=self._console,
            )
            self._task = self._bar.add_task("", total=state.max_steps, completed=self._first)
            self._bar.start()

    def on_prediction_step(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if self._bar is not None:
            self._bar.update(self._task, description="evaluating")

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
            self._write(state, _metrics(logs, "eval_"))
            if self._bar is not None:
                self._bar.update(self._task, description="")
            return
        spent = time.perf_counter() - self._started
        left = spent / max(1, state.global_step - self._first) * (state.max_steps - state.global_step)
        line = f"{_metrics(logs, '')}  {logs['pairs_per_second']:.1f} pairs/s"
        if self._bar is not None:
            self._bar.line = line
            self._bar.update(self._task, description=f"{duration(left)} left")
        else:
            self._write(state, f"{line}  {duration(left)} left")

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the terminal back; safe to call at any time."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None

    def _write(self, state: TrainerState, line: str) -> None:
        step = f"{state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}"
        self._console.print(f"step {step}  {line}", markup=False, highlight=False, soft_wrap=True)


def _metrics(logs: dict[str, float], prefix: str) -> str:
    """Loss, and what there is about pairs: a batch may have none."""
    values = {name.removeprefix(prefix): value for name, value in logs.items() if name.startswith(prefix)}
    parts = [f"{'eval ' if prefix else 'train'}  loss {values['loss']:.4f}"]
    if "rewards/accuracies" in values:
        parts.append(f"accuracy {values['rewards/accuracies']:.3f}")
    if {"logps/chosen", "logps/rejected"} <= values.keys():
        parts.append(f"margin {values['logps/chosen'] - values['logps/rejected']:+.4f}")
    return "  ".join(parts)
