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
from peft.utils.integrations import dequantize_module_weight
from torch import Tensor, nn
from transformers import PreTrainedModel

from orpo.errors import NumericsError
from orpo.modeling.head import probe_ids
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
    merged = {name: _merged_weight(model, layer, dtype) for name, layer in _adapted(model)}
    _require_equal(model, merged)
    return {**_unadapted(model, merged), **{f"{name}.weight": weight for name, weight in merged.items()}}


def _adapted(model: PeftModel) -> Iterator[tuple[str, Any]]:
    """The layers with adapters, by name."""
    return ((name, layer) for name, layer in unwrapped(model).named_modules() if isinstance(layer, LoraLayer))


def _unadapted(model: PeftModel, merged: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Everything but the weights with adapters, under its names in a model without any."""
    base_weights = tuple(f"{name}.base_layer.weight" for name in merged)  # and what belongs to quantised ones
    trained_whole = f".modules_to_save.{model.active_adapter}."
    return {
        name.replace(".base_layer.", ".").replace(trained_whole, "."): tensor
        for name, tensor in unwrapped(model).state_dict().items()
        if ".lora_" not in name and ".original_module." not in name and not name.startswith(base_weights)
    }


@torch.no_grad()
def _merged_weight(model: PeftModel, layer: Any, dtype: torch.dtype | None) -> Tensor:
    """The weight of one layer, computed in float32 and rounded once."""
    adapter = model.active_adapter
    base = dequantize_module_weight(layer.get_base_layer()).detach()
    weight = base.float() + layer.get_delta_weight(adapter).float()
    if (
        adapter in layer.lora_magnitude_vector
    ):  # DoRA: rows of a length of their own (arXiv:2402.09353, eq. 5)
        rows = weight.T if layer.fan_in_fan_out else weight
        rows *= (layer.lora_magnitude_vector[adapter].weight.float() / rows.norm(dim=1))[:, None]
    return weight.to(base.dtype if dtype is None else dtype)


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
    layers = {name: base.get_submodule(name) for name in merged}
    try:
        for name, weight in merged.items():
            base.set_submodule(name, _plain(cast(Any, layers[name]).get_base_layer(), weight))
        yield
    finally:
        for name, layer in layers.items():
            base.set_submodule(name, layer)


def _plain(layer: nn.Module, weight: Tensor) -> nn.Module:
    """A layer with another weight; of a quantised layer, the linear one that it stands for."""
    parameter = nn.Parameter(weight, requires_grad=False)
    if layer.weight.shape == weight.shape:
        plain = copy.copy(layer)
        plain._parameters = {**layer._parameters, "weight": parameter}
        return plain
    linear = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    linear.weight = parameter
    linear.register_parameter("bias", cast("nn.Parameter | None", layer.bias))
    return linear
