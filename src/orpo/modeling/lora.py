"""LoRA adapters through PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from orpo.errors import ConfigError


def add_lora(
    model: PreTrainedModel, *, r: int, alpha: float, dropout: float, target: str | Sequence[str]
) -> PeftModel:
    """Freeze `model` and give it trainable adapters.

    Args:
        r: rank.
        alpha: scale; the adapters' product is multiplied by alpha / r.
        dropout: dropout inside the adapters.
        target: `all-linear`, or names of modules.

    Raises:
        ConfigError: no module has such a name.
    """
    modules = target if isinstance(target, str) else list(target)
    leaves = sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if hasattr(m, "weight")})
    hint = f"Modules of this model: {', '.join(leaves)}; or all-linear."
    for wanted in modules if isinstance(modules, list) else []:
        if not any(name == wanted or name.endswith(f".{wanted}") for name, _ in model.named_modules()):
            raise ConfigError(f"model.lora.target: the model has no module {wanted}", hint=hint)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type]  PEFT divides it as a float
        lora_dropout=dropout,
        target_modules=modules,
        task_type="CAUSAL_LM",
    )
    try:
        with warnings.catch_warnings():
            # PEFT reads a property that transformers has renamed; nothing for users to act on.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            return get_peft_model(model, config)  # type: ignore[return-value]
    except ValueError as error:
        raise ConfigError(f"model.lora.target: {error}", hint=hint) from None
