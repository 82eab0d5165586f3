"""Objectives: pure functions from scores to a loss and its metrics.

To add one, write its module and one line in `OBJECTIVES`.
"""

from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.orpo import ORPO

OBJECTIVES: dict[str, type[Objective]] = {"orpo": ORPO}

__all__ = ["OBJECTIVES", "ORPO", "Objective", "ObjectiveOutput"]
