"""Objectives: pure functions from scores to a loss and its metrics.

To add one, write its module, one line in `OBJECTIVES`, and its section in `orpo.config.objectives`.
"""

from orpo.objectives.base import Objective, ObjectiveOutput
from orpo.objectives.dpo import DPO
from orpo.objectives.ipo import IPO
from orpo.objectives.kto import KTO
from orpo.objectives.orpo import ORPO
from orpo.objectives.reward import RewardModel
from orpo.objectives.sft import SFT
from orpo.objectives.simpo import SimPO

OBJECTIVES: dict[str, type[Objective]] = {
    "orpo": ORPO,
    "sft": SFT,
    "dpo": DPO,
    "ipo": IPO,
    "simpo": SimPO,
    "kto": KTO,
    "reward": RewardModel,
}

__all__ = [
    "DPO",
    "IPO",
    "KTO",
    "OBJECTIVES",
    "ORPO",
    "SFT",
    "Objective",
    "ObjectiveOutput",
    "RewardModel",
    "SimPO",
]
