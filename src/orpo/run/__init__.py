"""The composition root: from a configuration to a trained model in its run directory."""

from orpo.run.compose import TrainingResult, train

__all__ = ["TrainingResult", "train"]
