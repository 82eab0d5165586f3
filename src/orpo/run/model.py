"""The objective of a run, and the model that it trains."""

from __future__ import annotations

import logging
from collections.abc import Callable

import torch
from peft import PeftModel
from transformers import PreTrainedModel

from orpo.config import LoadedConfig, ModelSection, ObjectiveSection, RunConfig, TrainingSection
from orpo.config.load import DEFAULT
from orpo.errors import ConfigError
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.gathering import gathered, without_weights
from orpo.modeling.kinds import LANGUAGE_MODEL, REWARD_MODEL, ModelKind
from orpo.modeling.load import LoadedModel
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.objectives import OBJECTIVES, Objective
from orpo.ops.distributed import World
from orpo.training.sharding import shard

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


def refuse_contradictions(config: RunConfig) -> None:
    """Refuse keys that do not go together.

    Raises:
        ConfigError: says which.
    """
    training = config.training
    if training.select == "best" and config.data.eval is None:
        raise ConfigError(
            "training.select: best needs evaluations, and data.eval is not set",
            hint="Set data.eval to a source or a fraction.",
        )
    if training.cpu_offload and training.parallel != "fsdp":
        raise ConfigError(
            f"training.cpu_offload: needs training.parallel: fsdp, got {training.parallel}",
            hint="Set training.parallel=fsdp, also for a single process.",
        )
    if training.parallel == "fsdp" and config.model.quantization is not None:
        raise ConfigError(
            "training.parallel: fsdp cannot share out the weights of model.quantization: "
            f"{config.model.quantization}",
            hint="Use training.parallel=ddp, which keeps them whole on every GPU, or leave "
            "model.quantization out.",
        )
    require_adapters_if_quantized(config.model)


def share_out(
    scorer: PairScorer, training: TrainingSection, world: World, dtype: torch.dtype | None
) -> Callable[[], PreTrainedModel | PeftModel | None]:
    """Share the weights out over the processes, on their devices.

    Args:
        scorer: of the model, which every process has whole in the host's memory.
        training: how.
        world: this process among its peers.
        dtype: of the products, or None.

    Returns:
        What gives the whole model on the main process, for saving, and None on the others; on every rank.

    Raises:
        ConfigError: see `shard`.
    """
    empty = without_weights(scorer.model)
    shard(scorer, world, dtype=dtype, cpu_offload=training.cpu_offload)
    log.info("weights, gradients and optimizer state are shared out over processes: %d", world.size)
    return lambda: gathered(scorer.model, empty, world)


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
        checkpoint_activations(source.model, selective=mode == "selective", offload=mode == "offload")
    return model
