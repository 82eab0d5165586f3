"""What a test wants to know of an objective's metrics."""

from __future__ import annotations

from torch import Tensor

from orpo.objectives import ObjectiveOutput


def means(output: ObjectiveOutput) -> dict[str, Tensor]:
    """The mean of every metric of a whole batch."""
    return {name: total / weight for name, (total, weight) in output.metrics.items()}
