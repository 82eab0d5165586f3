"""Weights, gradients and optimizer state shared out over the processes: PyTorch's FSDP2.

Each layer is a group, whose weights every process has for as long as the layer computes; all else, such as
embeddings and head, is the root's.  The root is the scorer: all that reads weights is done in its forward
pass, the objective included.  Gradients are added up over processes and divided by nothing, since the
objective has divided by the global batch's counts.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import (
    CPUOffloadPolicy,
    FSDPModule,
    MixedPrecisionPolicy,
    OffloadPolicy,
    fully_shard,
)
from transformers.modeling_layers import GradientCheckpointingLayer

from orpo.errors import ConfigError
from orpo.modeling.scorer import PairScorer, unwrapped
from orpo.ops.distributed import World

log = logging.getLogger(__name__)

FEW = 0.1
"""Share of the weights up to which those that are trained are few, as adapters are."""


def shard(scorer: PairScorer, world: World, *, dtype: torch.dtype | None, cpu_offload: bool) -> None:
    """Share a scorer's weights out over the processes, in place; from then on they are DTensors.

    Args:
        scorer: whose frozen weights are the same on every process, on the host or on the device; those that
            are trained become the first process's, as with DDP.
        world: this process among its peers, in a process group.
        dtype: in which a layer's weights are sent and used, that of the products; None for their own.  Those
            outside of layers are sent in their own.
        cpu_offload: keep weights, gradients and optimizer state in the host's memory.

    Raises:
        ConfigError: the model has no layers that are known, or weights that cannot be shared out.
    """
    layers = [module for module in scorer.modules() if isinstance(module, GradientCheckpointingLayer)]
    _refuse_what_cannot_be_shared(scorer, layers)
    for parameter in scorer.parameters():
        if parameter.requires_grad:
            dist.broadcast(parameter.detach(), src=0)
    mesh = init_device_mesh(world.device.type, (world.size,))
    policy = OffloadPolicy()
    if cpu_offload and world.device.type == "cpu":
        log.info("training.cpu_offload has no effect: weights are in the host's memory already")
    elif cpu_offload:
        policy = CPUOffloadPolicy()
    # The states between layers are what they are without FSDP, so inputs are not converted either.
    narrow, own = (
        MixedPrecisionPolicy(kind, reduce_dtype=torch.float32, cast_forward_inputs=False)
        for kind in (dtype, None)
    )
    for layer in layers:
        fully_shard(layer, mesh=mesh, mp_policy=narrow, offload_policy=policy)
    fully_shard(scorer, mesh=mesh, mp_policy=own, offload_policy=policy)
    for group in (module for module in scorer.modules() if isinstance(module, FSDPModule)):
        group.set_gradient_divide_factor(1.0)
        group.set_force_sum_reduction_for_comms(True)  # the one kind of sum that gloo has too


def is_sharded(module: nn.Module) -> bool:
    """Whether `shard` has shared the weights of a scorer out."""
    return isinstance(module, FSDPModule)


def trains_few(scorer: PairScorer) -> bool:
    """Whether each process can well hold the gradients of all trained weights."""
    trained = sum(p.numel() for p in scorer.parameters() if p.requires_grad)
    return trained <= FEW * sum(p.numel() for p in scorer.parameters())


def exchange_gradients(scorer: PairScorer, *, now: bool) -> None:
    """Whether backward passes from here on add gradients up over processes, or let each keep its own."""
    assert isinstance(scorer, FSDPModule)
    scorer.set_requires_gradient_sync(now)


def _refuse_what_cannot_be_shared(scorer: PairScorer, layers: Sequence[GradientCheckpointingLayer]) -> None:
    model = unwrapped(scorer.model)
    if not layers:
        raise ConfigError(
            f"training.parallel: fsdp: {type(model).__name__} has no layers that are known",
            hint="Use training.parallel=ddp.",
        )
    in_layers = {p for layer in layers for p in layer.parameters()}
    others = [p for p in scorer.parameters() if p not in in_layers]
    for group in (others, *(layer.parameters() for layer in layers)):
        types = sorted({str(p.dtype).removeprefix("torch.") for p in group if p.requires_grad})
        if len(types) > 1:
            raise ConfigError(
                "training.parallel: fsdp needs trained weights of one type in each layer, and of one outside "
                f"of layers, got {' and '.join(types)}",
                hint="Set model.dtype=float32 or training.parallel=ddp.",
            )
