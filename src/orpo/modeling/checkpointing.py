"""Activation memory against time: recompute activations in the backward pass instead of keeping them."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from typing import Any

import torch
import torch.nn.attention.varlen
from torch import Tensor
from torch.autograd.graph import save_on_cpu
from torch.utils.checkpoint import CheckpointPolicy, create_selective_checkpoint_contexts
from transformers import PreTrainedModel

from orpo.errors import ConfigError
from orpo.modeling.head import probe_ids
from orpo.modeling.probing import FAILURES, by_embeddings, unnoticed

_aten = torch.ops.aten

KEPT = {
    _aten.mm.default,
    _aten.addmm.default,
    _aten.bmm.default,
    _aten._unsafe_view.default,
    _aten._scaled_dot_product_flash_attention_for_cpu.default,
    _aten._scaled_dot_product_flash_attention.default,
    _aten._scaled_dot_product_efficient_attention.default,
    _aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.torch_attn._varlen_attn.default,
}
"""Operators whose results selective checkpointing keeps: matrix products and attention, which cost most to
compute again.  What lies between them (norms, positions, activations) is recomputed.  A product of three
dimensions is a view of one of two, under which PyTorch notices that somebody has written over it."""


def checkpoint_activations(model: PreTrainedModel, *, selective: bool = False, offload: bool = False) -> None:
    """Recompute each layer's activations in the backward pass.

    Args:
        model: whose layers transformers knows how to checkpoint.
        selective: keep the results of matrix products and attention, and recompute only the rest: most of
            the memory of activations stays in use, for little time.
        offload: what a layer is given, and is kept for its recomputation, waits in the host's memory.

    Raises:
        ConfigError: `selective`, and a layer writes over a result that would be kept.
    """
    options: dict[str, Any] = {"use_reentrant": False}
    if selective:
        options["context_fn"] = partial(create_selective_checkpoint_contexts, _policy)
    with warnings.catch_warnings():
        # The method's newer name does not exist in every release of transformers that we support.
        warnings.filterwarnings("ignore", ".*gradient_checkpointing_enable", FutureWarning)
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=options)
    if selective:
        _require_kept_results(model)
    module: Any
    for module in model.modules() if offload else ():
        if (checkpoint := getattr(module, "_gradient_checkpointing_func", None)) is not None:
            module._gradient_checkpointing_func = partial(_offloading, checkpoint)


def _require_kept_results(model: PreTrainedModel) -> None:
    """Try some tokens: what a layer has written over would be computed again from the wrong numbers.

    Raises:
        ConfigError: a layer does.
    """
    was_training = model.training
    model.train()  # else nothing is checkpointed
    try:
        ids = probe_ids(model, 4)
        with unnoticed(model):  # adapters may have dropout
            states, embedded = by_embeddings(
                model, lambda: model.base_model(input_ids=ids, use_cache=False)[0]
            )
            torch.autograd.grad(states.float().sum(), embedded)
    except torch.OutOfMemoryError:
        raise
    except FAILURES as error:  # any other is training's to tell
        if "mutated" in str(error):
            raise ConfigError(
                "training.gradient_checkpointing: selective keeps results of matrix products, and a layer of "
                f"{type(model).__name__} writes over one",
                hint="Use true.",
            ) from error
    finally:
        model.train(was_training)


def _offloading(checkpoint: Callable[..., Any], layer: Callable[..., Any], *args: Any) -> Any:
    """Checkpoint a layer; what its own operators keep is not for the hooks around it."""
    with save_on_cpu(pin_memory=True) if _is_on_device(args) else nullcontext():
        return checkpoint(layer, *args)


def _is_on_device(args: tuple[Any, ...]) -> bool:
    return any(isinstance(value, Tensor) and value.device.type != "cpu" for value in args)


def _policy(_: Any, operator: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    return CheckpointPolicy.MUST_SAVE if operator in KEPT else CheckpointPolicy.PREFER_RECOMPUTE
