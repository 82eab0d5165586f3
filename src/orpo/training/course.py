"""How far a run has come, and what has come of it: the part of its state that its summary tells."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Course:
    """What a run remembers from step to step, beside what its parts keep themselves."""

    epoch: int = 0

    batch: int = 0
    """Batches of the epoch that are done."""

    learning_rate: float = 0.0
    """Of the last update."""

    last_train: dict[str, float] = field(default_factory=dict)
    """The last row of train metrics."""

    evaluations: list[tuple[int, dict[str, float]]] = field(default_factory=list)
    """Steps and their metrics."""

    model_step: int | None = None
    """The step that the saved model is of."""

    saved_step: int | None = None
    """The step of the newest checkpoint."""

    skipped_steps: list[int] = field(default_factory=list)
    """Steps that were left out because loss or gradient were not finite."""

    resumed: list[int] = field(default_factory=list)
    """The steps at which the run went on from a checkpoint."""

    earlier_seconds: float = 0.0
    """Time that the processes have taken that the run went on from."""

    started: float = field(default_factory=time.perf_counter)

    def state_dict(self) -> dict[str, Any]:
        """What goes on, as JSON holds it."""
        return {
            "epoch": self.epoch,
            "batch": self.batch,
            "learning_rate": self.learning_rate,
            "last_train": self.last_train,
            "evaluations": self.evaluations,
            "model_step": self.model_step,
            "skipped_steps": self.skipped_steps,
            "resumed": self.resumed,
            "seconds": self.earlier_seconds + time.perf_counter() - self.started,
        }

    def load_state_dict(self, saved: Mapping[str, Any], step: int) -> None:
        """Go on at `step` from what `state_dict` has said."""
        self.epoch, self.batch = saved["epoch"], saved["batch"]
        self.learning_rate = saved["learning_rate"]
        self.last_train, self.model_step = saved["last_train"], saved["model_step"]
        self.evaluations = [(at, metrics) for at, metrics in saved["evaluations"]]
        self.skipped_steps = list(saved["skipped_steps"])
        self.resumed, self.earlier_seconds = [*saved["resumed"], step], saved["seconds"]
        self.saved_step = step
