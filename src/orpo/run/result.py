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
from orpo.errors import CheckpointError
from orpo.modeling.load import load_model, load_tokenizer
from orpo.run.model import build_objective, kind_of_model
from orpo.rundir import RunDirectory

_ADAPTER = "adapter_model.safetensors"

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
        CheckpointError: it has saved none, or an adapter without its weights.
        ConfigError, NetworkError: see `load_model`, of an adapter's base too.
    """
    if not run.model.is_dir():
        raise CheckpointError(
            f"{run.path}: the run has saved no model yet", hint="Let it end, or go on with --resume auto."
        )
    is_adapter = config.model.lora is not None and not config.model.lora.merge
    if is_adapter and not (run.model / _ADAPTER).exists():  # where it is missing, PEFT looks for a pickle
        raise CheckpointError(
            f"{run.model} has no {_ADAPTER}",
            hint="Bring it back from a copy, or train again with output=PATH.",
        )
    kind = kind_of_model(build_objective(config.objective))
    base, revision = (config.model.name, config.model.revision) if is_adapter else (str(run.model), None)
    quantization = config.model.quantization if is_adapter else None
    source = load_model(
        base, revision=revision, dtype=config.model.dtype, quantization=quantization, kind=kind
    )
    if not is_adapter:
        return source.model, source.tokenizer
    return PeftModel.from_pretrained(source.model, str(run.model)), load_tokenizer(str(run.model))
