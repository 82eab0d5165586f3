"""The rows of a run's logs: means of the steps since the last row, evaluations, and time."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from orpo.ops.distributed import World
from orpo.ops.means import WeightedMeans
from orpo.ops.memory import peak_memory_bytes
from orpo.rundir import RunDirectory
from orpo.training.batches import GlobalBatch
from orpo.training.callbacks import Callbacks
from orpo.training.course import Course
from orpo.training.health import Health

log = logging.getLogger(__name__)


@dataclass
class Window:
    """What has happened since the last row of the logs."""

    means: WeightedMeans = field(default_factory=WeightedMeans)
    pairs: int = 0
    tokens: int = 0
    started: float = field(default_factory=time.perf_counter)


@dataclass
class Logs:
    """Collects what happens in steps, and writes it in rows.

    Args:
        run_dir: where rows go; None on every rank but the main one.
        callbacks: get the rows too.
        health: looks at the rows of training.
        course: remembers the last of them.
        world: this process among its peers.
    """

    run_dir: RunDirectory | None
    callbacks: Callbacks
    health: Health
    course: Course
    world: World
    window: Window = field(default_factory=Window)

    def begin(self) -> None:
        """Start the clock of the first row."""
        self.window = Window()

    def saw(self, batch: GlobalBatch, sums: Mapping[str, Tensor]) -> None:
        """A step is done.

        Args:
            batch: its pairs.
            sums: this rank's weighted sums of its metrics.
        """
        self.window.means.add(sums)
        self.health.saw(batch.totals.pairs)
        self.window.pairs += len(batch.pairs)
        self.window.tokens += batch.tokens

    def train_row(self, step: int) -> None:
        """Write means since the last row, each over what it is a metric of, if there are any.

        Steps that were left out have no part in it.
        """
        window = self.window
        if not window.means:
            return
        means = window.means.take(self.world)
        if not means:
            return  # every step was left out
        means["learning_rate"] = self.course.learning_rate
        seconds = time.perf_counter() - window.started
        timing = {
            "tokens_per_second": window.tokens / seconds,
            "pairs_per_second": window.pairs / seconds,
            "seconds": seconds,
            "peak_memory_bytes": peak_memory_bytes(self.world.device),
        }
        self.course.last_train = means
        if self.run_dir is not None:
            self.run_dir.append_metrics({"step": step, "split": "train", **means})
            self.run_dir.append_timing({"step": step, **timing})
        self.callbacks.log(means | timing)
        for sign in self.health.look(step, means):
            log.warning("step %d: %s. %s", sign.step, sign.message, sign.advice)
        self.window = Window()

    def eval_row(self, step: int, metrics: dict[str, float], since: float) -> None:
        """Write an evaluation; it began at `since`, and what it took is no time of training."""
        self.course.evaluations.append((step, metrics))
        if self.run_dir is not None:
            self.run_dir.append_metrics({"step": step, "split": "eval", **metrics})
        self.callbacks.evaluated({f"eval_{name}": value for name, value in metrics.items()})
        self.window.started += time.perf_counter() - since

    def state_dict(self) -> dict[str, Any]:
        """The window, but for its sums, and where the logs end; as JSON holds it."""
        window = self.window
        return {
            "window": {
                "pairs": window.pairs,
                "tokens": window.tokens,
                "seconds": time.perf_counter() - window.started,
            },
            "logs": self.run_dir.log_sizes() if self.run_dir is not None else {},
        }

    def load_state_dict(self, saved: Mapping[str, Any], sums: Mapping[str, Tensor]) -> None:
        """Go on from what `state_dict` has said, and from this process's `sums`."""
        window = saved["window"]
        self.window = Window(
            pairs=window["pairs"],
            tokens=window["tokens"],
            started=time.perf_counter() - window["seconds"],
        )
        self.window.means.add({name: value.to(self.world.device) for name, value in sums.items()})
