"""What a run says and writes about itself: the announcement, definition.json and summary.json."""

from __future__ import annotations

import logging
import platform
from collections.abc import Mapping
from dataclasses import asdict
from importlib.metadata import version
from typing import Any

import torch

from orpo.config import RunConfig
from orpo.config.schema import TrainingSection
from orpo.data.batching import tokens_alone
from orpo.modeling.head import FusedHead
from orpo.modeling.load import LoadedModel
from orpo.modeling.reward import RewardScorer
from orpo.modeling.scorer import PairScorer, unwrapped
from orpo.objectives import Objective
from orpo.ops.distributed import World
from orpo.ops.precision import processor_has_bfloat16
from orpo.run.data import PreparedData
from orpo.rundir import Status
from orpo.training.loop import TrainingLoop

log = logging.getLogger(__name__)

SMALL_MODEL = 10_000_000
"""Parameters up to which the type of the products hardly matters on a CPU."""


def announce(config: RunConfig, scorer: PairScorer, data: PreparedData, dtype: torch.dtype | None) -> None:
    """Say what is about to be optimised, on what."""
    max_tokens = config.training.max_tokens
    parameters = list(scorer.parameters())
    trainable = sum(p.numel() for p in parameters if p.requires_grad)
    log.info(
        "model: %s, %s parameters, %s trained, %s products",
        config.model.name,
        f"{sum(p.numel() for p in parameters):,}",
        f"{trainable:,}",
        _precision(scorer, dtype),
    )
    if scorer.model.device.type == "cpu":
        _advise_on_bfloat16(config.training.precision, sum(p.numel() for p in parameters))
        if config.training.gradient_checkpointing == "offload":
            log.info(
                "gradient_checkpointing: offload is as true here, where activations are in the host's memory"
            )
    coefficients = config.objective.model_dump(by_alias=True)
    log.info(
        "objective: %s; template %s; %d pairs per step, max_tokens %s, layout %s",
        ", ".join(
            f"{value}" if name == "name" else f"{name} {value}" for name, value in coefficients.items()
        ),
        data.template.name,
        config.training.batch_size,
        max_tokens,
        scorer.layout,
    )
    if scorer.router_loss is not None:
        log.info(
            "router loss: load balancing of the experts, coefficient %g%s",
            scorer.router_loss.coefficient,
            ", the model's own" if config.training.router_loss == "auto" else "",
        )
    if max_tokens != "auto" and (
        alone := int((tokens_alone(data.train.lengths, scorer.layout) > max_tokens).sum())
    ):
        log.info("%d pairs exceed training.max_tokens and run alone", alone)


def _advise_on_bfloat16(precision: str, parameters: int) -> None:
    """`auto` is float32 on any processor, so that a run does not depend on which; say what that costs."""
    if precision == "auto" and parameters > SMALL_MODEL and processor_has_bfloat16():
        log.info("this processor has bfloat16: training.precision=bfloat16 makes steps faster")
    if precision == "bfloat16" and not processor_has_bfloat16():
        log.warning("this processor emulates bfloat16: training.precision=float32 is faster")


def definition_record(
    config: RunConfig, objective: Objective, source: LoadedModel, data: PreparedData, scorer: PairScorer
) -> dict[str, Any]:
    """What definition.json holds of the optimisation."""
    lora = config.model.lora
    parameters = list(scorer.parameters())
    return {
        "objective": {
            **config.objective.model_dump(by_alias=True),
            "title": objective.title,
            "formula": objective.formula,
        }
        | ({"router_loss": scorer.router_loss.coefficient} if scorer.router_loss is not None else {}),
        "model": {
            "name": config.model.name,
            "is_reward_model": isinstance(scorer, RewardScorer),
            "revision": config.model.revision,
            "commit": source.commit,
            "random_init": config.model.random_init,
            "lora": lora.model_dump() if lora is not None else None,
            "parameters": sum(p.numel() for p in parameters),
            "trainable_parameters": sum(p.numel() for p in parameters if p.requires_grad),
        },
        "template": {"name": data.template.name, "sha256": data.template.sha256},
        "data": {**data.record, "max_length": data.max_length, "truncation": config.data.truncation},
        "versions": {"python": platform.python_version()}
        | {
            name: version(name)
            for name in ("orpo", "torch", "transformers", "peft", "datasets", "tokenizers")
        },
    }


def engine_record(
    settings: TrainingSection,
    scorer: PairScorer,
    world: World,
    dtype: torch.dtype | None,
) -> dict[str, Any]:
    """What definition.json holds of that which changes speed, memory and rounding, and nothing else."""
    return {
        "device": world.device.type,
        "processes": world.size,
        "parallel": settings.parallel,
        "precision": _precision(scorer, dtype),
        "layout": scorer.layout,
        "head": _head_kind(scorer),
        "compile": settings.compile,
        "threads": torch.get_num_threads(),
    }


def summary_record(
    status: Status,
    loop: TrainingLoop,
    data: PreparedData,
    assessment: Mapping[str, Any] | None,
    seconds: float,
) -> dict[str, Any]:
    """What summary.json holds.

    Args:
        status: how the run ended.
        loop: what was done.
        data: on what.
        assessment: of a reward model, see `orpo.evaluation.assessment`.
        seconds: how long it took.
    """
    evaluations = [metrics for _, metrics in loop.course.evaluations]
    return {
        "status": status,
        "steps": loop.step,
        "model_step": loop.course.model_step,
        "max_tokens": [asdict(change) for change in loop.budget.changes],
        "train": loop.course.last_train,
        "skipped_steps": loop.course.skipped_steps,
        "warnings": [asdict(sign) for sign in loop.health.signs],
        "eval": {"first": evaluations[0], "last": evaluations[-1]} if evaluations else None,
        "assessment": assessment,
        "rows": data.record,
        "resumed": loop.course.resumed,
        "wall_seconds": loop.course.earlier_seconds + seconds,
    }


def _precision(scorer: PairScorer, dtype: torch.dtype | None) -> str:
    """The type of the matrix products: autocast's, or that of the weights."""
    return str(dtype or unwrapped(scorer.model).dtype).removeprefix("torch.")


def _head_kind(scorer: PairScorer) -> str:
    """How scores come about: values; or log-probabilities without whole logits, in pieces, or from all."""
    if isinstance(scorer, RewardScorer):
        return "value"
    if scorer.head is None:
        return "logits"
    return "fused" if isinstance(scorer.head, FusedHead) else "module"
