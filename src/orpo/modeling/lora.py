"""LoRA adapters through PEFT."""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from transformers import PreTrainedModel

from orpo.errors import ConfigError
from orpo.modeling.kinds import LANGUAGE_MODEL, ModelKind

log = logging.getLogger(__name__)

ALL_LINEAR = "all-linear"
"""Every linear layer but the head."""


def add_lora(
    model: PreTrainedModel,
    *,
    r: int,
    alpha: float,
    dropout: float,
    target: str | Sequence[str],
    rslora: bool = False,
    dora: bool = False,
    modules_to_save: Sequence[str] = (),
    kind: ModelKind = LANGUAGE_MODEL,
) -> PeftModel:
    """Freeze `model` and give it trainable adapters.  The value head of a reward model is trained whole.

    Args:
        model: without adapters.
        r: rank.
        alpha: scale; the adapters' product is multiplied by alpha / r.
        dropout: dropout inside the adapters.
        target: `all-linear`, names of modules, or a regular expression that whole names match.
        rslora: multiply by alpha / sqrt(r) instead (arXiv:2312.03732).
        dora: train the rows' lengths apart from their directions (arXiv:2402.09353).
        modules_to_save: names of modules that are trained whole.
        kind: what the model is.

    Raises:
        ConfigError: no module has such a name, its weights are another's too, or it can have no
            such adapter.
    """
    more_than_products = _more_than_products(model)
    excluded = more_than_products if target == ALL_LINEAR else []
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type]  PEFT divides it as a float
        lora_dropout=dropout,
        target_modules=target if isinstance(target, str) else list(target),
        exclude_modules=excluded or None,
        use_rslora=rslora,
        use_dora=dora,
        modules_to_save=list(modules_to_save) or None,
        task_type=kind.peft_task,
    )
    names = [name for name, _ in model.named_modules()]
    leaves = sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if hasattr(m, "weight")})
    modules = f"Modules of this model: {', '.join(leaves)}"
    hint = f"{modules}; or {ALL_LINEAR}."
    _require_modules(names, "target", [] if isinstance(target, str) else target, hint)
    _require_modules(names, "modules_to_save", modules_to_save, hint)
    matched = _matched(names, config, hint)
    _refuse_routers(model, [name for name in matched if name in more_than_products], modules)
    _refuse_shared(model, "target", matched)
    _refuse_shared(model, "modules_to_save", [name for name in names if _is_called(name, modules_to_save)])
    matrices = dict(_matrices(model))
    adapted = _with_adapters(model, config, modules)
    _say_what_is_left(adapted, matrices)
    return adapted


def adapted_parameter(layer: LoraLayer) -> str:
    """What a layer adapts of its base layer: the weight, or one of the parameters of stacked experts."""
    return getattr(layer, "parameter_name", "weight")


def _is_called(name: str, wanted: Sequence[str]) -> bool:
    """Whether a module has one of these names, whole or as the end of its path."""
    return any(f".{name}".endswith(f".{end}") for end in wanted)


def _require_modules(names: Sequence[str], key: str, wanted: Sequence[str], hint: str) -> None:
    """Refuse names that no module has.

    Raises:
        ConfigError: names the first of them.
    """
    for one in wanted:
        if not any(_is_called(name, [one]) for name in names):
            raise ConfigError(f"model.lora.{key}: the model has no module {one}", hint=hint)


def _matched(names: Sequence[str], config: LoraConfig, hint: str) -> list[str]:
    """The modules that names or a pattern are taken for by PEFT; `all-linear`, which has no head, is neither.

    Raises:
        ConfigError: it is not a regular expression.
    """
    try:
        return [name for name in names if check_target_module_exists(config, name)]
    except re.error as error:
        raise ConfigError(
            f"model.lora.target: {config.target_modules} is not a regular expression: {error}", hint=hint
        ) from None


def _refuse_shared(model: PreTrainedModel, key: str, found: Sequence[str]) -> None:
    """Refuse embeddings and a head that are one tensor, of which only one would be trained.

    Raises:
        ConfigError: names the module.
    """
    embeddings, head = model.get_input_embeddings(), model.get_output_embeddings()
    if head is None or head.weight is not embeddings.weight:
        return
    for name in found:
        if model.get_submodule(name) in (embeddings, head):
            raise ConfigError(
                f"model.lora.{key}: the weights of {name} are another module's too: this model's embeddings "
                "are its head",
                hint="Leave it out, or train without model.lora.",
            )


@torch.no_grad()
def _more_than_products(model: PreTrainedModel) -> list[str]:
    """Modules that are linear layers by their class and return something else, as some routers do.

    An adapter's product cannot be added to it.  Each class is tried once.  4-bit layers are not tried: they
    take the type of their products from what comes first.
    """
    linear = {name: module for name, module in model.named_modules() if isinstance(module, nn.Linear)}
    one_of_each = {type(layer): layer for layer in linear.values() if layer.weight.is_floating_point()}
    others = {
        kind
        for kind, layer in one_of_each.items()
        if kind is not nn.Linear
        and not isinstance(layer(layer.weight.new_zeros(1, layer.in_features)), Tensor)
    }
    return [name for name, layer in linear.items() if type(layer) in others]


def _refuse_routers(model: PreTrainedModel, found: Sequence[str], modules: str) -> None:
    """Refuse modules that return more than a product.

    Raises:
        ConfigError: names the first of them.
    """
    for name in found:
        kind = type(model.get_submodule(name)).__name__
        raise ConfigError(
            f"model.lora.target: {name} is a {kind}, which returns more than a product of its weights, "
            "so that it can have no adapter",
            hint=f"Leave it out, as {ALL_LINEAR} does. {modules}.",
        )


def _with_adapters(model: PreTrainedModel, config: LoraConfig, modules: str) -> PeftModel:
    """The model with new adapters.

    Raises:
        ConfigError: PEFT refuses.
    """
    try:
        with warnings.catch_warnings():
            # Nothing for users to act on: PEFT reads a property that transformers has renamed, says what it
            # finds out of layers with transposed weights, and looks for its patterns for stacked experts,
            # which apply, among the modules alone.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            warnings.filterwarnings("ignore", "fan_in_fan_out is set to False", UserWarning)
            warnings.filterwarnings("ignore", "The following .*_pattern keys did not match", RuntimeWarning)
            return get_peft_model(model, config)  # type: ignore[return-value]
    except ValueError as error:
        stacked = ", ".join(sorted(config.target_parameters or ()))  # set by PEFT, from what it was given
        for key, asked in {"dora": config.use_dora, "dropout": config.lora_dropout}.items():
            if stacked and asked:
                raise ConfigError(
                    f"model.lora.{key}: for linear layers only, and model.lora.target takes experts and "
                    f"routers that are none: {stacked}",
                    hint=f"Leave it out, or name linear layers alone in model.lora.target. {modules}.",
                ) from None
        raise ConfigError(f"model.lora.target: {error}", hint=f"{modules}; or {ALL_LINEAR}.") from None


def _matrices(model: PreTrainedModel) -> Iterator[tuple[nn.Parameter, str]]:
    """The weights that adapters are for, all but embeddings and the head, and what they are called."""
    head = model.get_output_embeddings()
    for path, module in model.named_modules():
        if isinstance(module, nn.Embedding) or module is head:
            continue
        for name, parameter in module.named_parameters(recurse=False):
            if parameter.ndim > 1 and not name.endswith("bias"):  # stacked experts' have two dimensions
                yield parameter, path.rsplit(".", 1)[-1] if name == "weight" else name


def _say_what_is_left(model: PeftModel, matrices: dict[nn.Parameter, str]) -> None:
    """Say which weights get no adapter, if they are most: experts, in families that PEFT has no names for."""
    reached: set[Any] = set()
    for module in model.modules():
        if isinstance(module, LoraLayer):
            reached.add(getattr(module.get_base_layer(), adapted_parameter(module)))
        elif isinstance(module, ModulesToSaveWrapper):
            reached.update(module.original_module.parameters())
    left: Counter[str] = Counter()
    for parameter, name in matrices.items():
        left[name] += 0 if parameter in reached else _size(parameter)
    share = left.total() / sum(map(_size, matrices))
    if share > 0.5:
        log.info(
            "model.lora.target: %.0f %% of the weights, embeddings and head aside, get no adapter: %s",
            100 * share,
            ", ".join(name for name, size in left.most_common() if size),
        )


def _size(parameter: nn.Parameter) -> int:
    """How many weights there are; 4-bit ones are kept two in a byte."""
    return parameter.numel() if parameter.is_floating_point() else 2 * parameter.numel()
