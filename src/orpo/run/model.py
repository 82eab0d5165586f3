"""The objective of a run, and the model that it trains."""

from __future__ import annotations

import logging

from peft import PeftModel
from transformers import PreTrainedModel

from orpo.config import LoadedConfig, ModelSection, ObjectiveSection, RunConfig
from orpo.config.load import DEFAULT
from orpo.errors import ConfigError
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.kinds import LANGUAGE_MODEL, REWARD_MODEL, ModelKind
from orpo.modeling.load import LoadedModel
from orpo.modeling.lora import add_lora
from orpo.objectives import OBJECTIVES, Objective

log = logging.getLogger(__name__)


def build_objective(config: ObjectiveSection) -> Objective:
    """The objective that `config` describes."""
    coefficients = config.model_dump(exclude={"name"})
    return OBJECTIVES[config.name](**coefficients)


def kind_of_model(objective: Objective) -> ModelKind:
    """What an objective trains."""
    return REWARD_MODEL if objective.needs_values else LANGUAGE_MODEL


def require_adapters_if_quantized(model: ModelSection) -> None:
    """Refuse to quantise weights that would be trained or drawn.

    Raises:
        ConfigError: says which.
    """
    if model.quantization is None:
        return
    if model.lora is None:
        raise ConfigError(
            f"model.quantization: {model.quantization} weights cannot be trained, and model.lora is not set",
            hint="Set model.lora, or leave model.quantization out.",
        )
    if model.random_init:
        raise ConfigError(
            f"model.quantization: {model.quantization} is for pretrained weights, not model.random_init",
            hint="Leave one of them out.",
        )


def advise_on_learning_rate(loaded: LoadedConfig) -> None:
    """Adapters start from nothing and want larger steps than weights."""
    if loaded.config.model.lora is not None and loaded.provenance["training.learning_rate"] == DEFAULT:
        log.warning(
            "training.learning_rate is the default %g, which is for all weights of a model; adapters usually "
            "take 1e-4 to 2e-4",
            loaded.config.training.learning_rate,
        )


def prepare_model(config: RunConfig, source: LoadedModel, kind: ModelKind) -> PreTrainedModel | PeftModel:
    """The model that is trained: the loaded one, or its adapters."""
    model: PreTrainedModel | PeftModel = source.model
    lora = config.model.lora
    if lora is not None:
        model = add_lora(
            source.model,
            r=lora.r,
            alpha=lora.alpha,
            dropout=lora.dropout,
            target=lora.target,
            rslora=lora.rslora,
            dora=lora.dora,
            modules_to_save=lora.modules_to_save,
            kind=kind,
        )
    elif config.model.dtype == "bfloat16":
        log.info(
            "bfloat16 weights are updated as float32, with 2 bytes more for each; gradients are bfloat16, "
            "those of several micro-batches too"
        )
    if mode := config.training.gradient_checkpointing:
        checkpoint_activations(source.model, selective=mode == "selective")
    return model
