"""Adapters added to the weights that they belong to."""

from __future__ import annotations

import copy
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, cast

import torch
from peft import PeftModel
from peft.tuners.lora import LoraLayer
from peft.utils.integrations import dequantize_module_weight, get_bnb_param_type
from torch import Tensor, nn
from transformers import PreTrainedModel

from orpo.errors import NumericsError
from orpo.modeling.head import probe_ids
from orpo.modeling.lora import adapted_parameter
from orpo.modeling.quantization import is_quantized
from orpo.modeling.scorer import evaluating, unwrapped

log = logging.getLogger(__name__)

PROBED = 16
"""Tokens of the text on which a merged model is compared with its parts."""


def merged_weights(model: PeftModel) -> dict[str, Tensor]:
    """The base model's state dict with each adapter added, without touching the model.

    What was trained whole beside the adapters, such as a value head, has its trained weights.  Weights of a
    quantised base are those that its codes stand for, which the adapters were trained with.

    Args:
        model: with one adapter.

    Raises:
        NumericsError: a model with these weights is another one than that with the adapters.
    """
    base = unwrapped(model)
    dtype = base.dtype if is_quantized(base) else None
    merged = {
        name: _merged_weight(model, module, name.rpartition(".")[2], dtype)
        for name, module in _rewritten(base).items()
    }
    _require_equal(model, merged)
    return {**_unchanged(model, merged), **merged}


def _rewritten(base: PreTrainedModel) -> dict[str, Any]:
    """Of each weight that has an adapter or is kept in 4 bits, the module that adapts or else holds it.

    Weights have their names in a model without adapters.  Each parameter of stacked experts is adapted by a
    module of its own, and these modules wrap one another.
    """
    found: dict[str, Any] = {}
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            found[_plain_name(f"{name}.{adapted_parameter(module)}")] = module
        elif get_bnb_param_type(getattr(module, "weight", None)):  # type: ignore[arg-type]
            found.setdefault(_plain_name(f"{name}.weight"), module)  # what adapts it comes before it
    return found


def _plain_name(name: str) -> str:
    """A name in a model with adapters as the model without any has it."""
    return ".".join(part for part in name.split(".") if part != "base_layer")


def _unchanged(model: PeftModel, merged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything but the merged weights, under its names in a model without adapters."""
    merged_or_theirs = tuple(f"{name}." for name in merged)  # scales of 4-bit weights have longer names
    trained_whole = f".modules_to_save.{model.active_adapter}."
    others = {
        _plain_name(name).replace(trained_whole, "."): tensor
        for name, tensor in unwrapped(model).state_dict().items()
        if ".lora_" not in name and ".original_module." not in name
    }
    return {name: tensor for name, tensor in others.items() if not f"{name}.".startswith(merged_or_theirs)}


@torch.no_grad()
def _merged_weight(model: PeftModel, module: Any, parameter: str, dtype: torch.dtype | None) -> Tensor:
    """One weight, with what `module` adds to it, computed in float32 and rounded once.

    The update of stacked experts comes rounded to their type, as it does in training.
    """
    layer = _base_layer(module)
    base = dequantize_module_weight(layer) if parameter == "weight" else getattr(layer, parameter)
    weight = base.detach().float()
    if isinstance(module, LoraLayer):
        weight = _adapted(weight, module, model.active_adapter)
    return weight.to(base.dtype if dtype is None else dtype)


def _adapted(base: Tensor, layer: Any, adapter: Any) -> Tensor:
    """A layer's weight with its adapter added."""
    weight = base + layer.get_delta_weight(adapter).float()
    if adapter in layer.lora_magnitude_vector:  # DoRA: lengths of the rows (arXiv:2402.09353, eq. 5)
        rows = weight.T if layer.fan_in_fan_out else weight
        rows *= (layer.lora_magnitude_vector[adapter].weight.float() / rows.norm(dim=1))[:, None]
    return weight


def _base_layer(module: Any) -> Any:
    """The layer that is not of PEFT."""
    return module.get_base_layer() if isinstance(module, LoraLayer) else module


@torch.no_grad()
def _require_equal(model: PeftModel, merged: Mapping[str, Tensor]) -> None:
    """Compare a text's logits under merged weights with those under the adapters.

    Rounding to the weights' type is all that may differ.  What it takes away of a small update is said.
    """
    base = unwrapped(model)
    ids = probe_ids(base, PROBED)

    def logits() -> Tensor:
        return base(input_ids=ids, use_cache=False).logits.float()

    with evaluating(model):
        adapted = logits()
        with model.disable_adapter():
            effect = (adapted - logits()).norm()
        with _in_place(base, merged):
            error = (adapted - logits()).norm()
    eps = max(torch.finfo(weight.dtype).eps for weight in merged.values())
    tolerance = 1e-3 if eps < 1e-4 else 0.1
    if not error <= tolerance * adapted.norm():
        raise NumericsError(
            f"merged weights give other logits than the adapters: they differ by "
            f"{error / adapted.norm():.1e} of their size, and {tolerance:.0e} may be rounding",
            hint="Go on from the last checkpoint with model.lora.merge=false, which writes the adapter.",
        )
    if error > 0.1 * effect:
        log.warning(
            "merged weights are rounded: the logits change by %.0f %% of what the adapters do; "
            "model.lora.merge=false or wider weights keep it all",
            100 * error / effect,
        )


@contextmanager
def _in_place(base: PreTrainedModel, merged: Mapping[str, Tensor]) -> Iterator[None]:
    """The model with merged weights in the place of layers with adapters."""
    weights: dict[str, dict[str, Tensor]] = {}
    for name, weight in merged.items():
        layer, _, parameter = name.rpartition(".")
        weights.setdefault(layer, {})[parameter] = weight
    layers = {name: base.get_submodule(name) for name in weights}
    try:
        for name, layer in layers.items():
            base.set_submodule(name, _plain(_base_layer(layer), weights[name]))
        yield
    finally:
        for name, layer in layers.items():
            base.set_submodule(name, layer)


def _plain(layer: nn.Module, weights: Mapping[str, Tensor]) -> nn.Module:
    """A layer with other weights; of a quantised layer, the linear one that it stands for."""
    parameters = {name: nn.Parameter(weight, requires_grad=False) for name, weight in weights.items()}
    if all(getattr(layer, name).shape == weight.shape for name, weight in weights.items()):
        plain = copy.copy(layer)
        plain._parameters = {**layer._parameters, **parameters}
        return plain
    weight = parameters["weight"]
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = weight
    linear.register_parameter("bias", cast("nn.Parameter | None", layer.bias))
    return linear
