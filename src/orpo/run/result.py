"""What a finished run leaves in memory and on disk."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from orpo.config import RunConfig
from orpo.modeling.saved import Base, load_saved
from orpo.run.model import build_objective, kind_of_model
from orpo.rundir import RunDirectory

Model = PreTrainedModel | PeftModel


@dataclass(frozen=True)
class TrainingResult:
    """What a finished run leaves in memory and on disk."""

    path: Path
    """The run directory."""

    summary: Mapping[str, Any]
    """What summary.json holds."""

    parts: Callable[[], tuple[Model, PreTrainedTokenizerBase]]
    """Gives model and tokenizer; of a run that was complete before, they are read from disk."""

    @cached_property
    def _parts(self) -> tuple[Model, PreTrainedTokenizerBase]:
        return self.parts()

    @property
    def model(self) -> Model:
        """The model after the last step."""
        return self._parts[0]

    @property
    def tokenizer(self) -> PreTrainedTokenizerBase:
        """The tokenizer, with the chat template that the model was trained with."""
        return self._parts[1]


def complete_result(config: RunConfig) -> TrainingResult:
    """The result of a run that has nothing left to do."""
    run = RunDirectory(Path(config.output).expanduser())
    return TrainingResult(run.path, run.read_summary(), lambda: load_trained(run, config))


def load_trained(run: RunDirectory, config: RunConfig) -> tuple[Model, PreTrainedTokenizerBase]:
    """The model that a run has saved, and its tokenizer.

    Args:
        run: wherever it is now.
        config: of the run.

    Raises:
        CheckpointError, ConfigError, NetworkError: see `load_saved`.
    """
    model = config.model
    is_adapter = model.lora is not None and not model.lora.merge
    return load_saved(
        run.model,
        Base(model.name, model.revision, model.quantization) if is_adapter else None,
        dtype=model.dtype,
        kind=kind_of_model(build_objective(config.objective)),
    )
