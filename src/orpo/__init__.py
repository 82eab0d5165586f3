"""One-phase preference alignment: Odds Ratio Preference Optimization (ORPO, arXiv:2403.07691).

    from orpo import train

    result = train({"model": "path/or/hub-id", "data": {"train": "pairs.jsonl"}, "output": "runs/first"})

Names are loaded when they are used, so that `import orpo` does not import torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orpo.config import RunConfig, load_config
    from orpo.errors import (
        CheckpointError,
        ConfigError,
        DataError,
        Interrupted,
        NetworkError,
        NumericsError,
        OrpoError,
        ResourceError,
    )
    from orpo.objectives import ORPO
    from orpo.objectives.orpo import log_odds_ratio
    from orpo.run import TrainingResult, train

__all__ = [
    "ORPO",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "Interrupted",
    "NetworkError",
    "NumericsError",
    "OrpoError",
    "ResourceError",
    "RunConfig",
    "TrainingResult",
    "load_config",
    "log_odds_ratio",
    "train",
]

_HOME = {
    "ORPO": "orpo.objectives",
    "RunConfig": "orpo.config",
    "TrainingResult": "orpo.run",
    "load_config": "orpo.config",
    "log_odds_ratio": "orpo.objectives.orpo",
    "train": "orpo.run",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'orpo' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "orpo.errors")), name)
