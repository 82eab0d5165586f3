"""LoRA adapters through PEFT."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from peft import LoraConfig, PeftModel, get_peft_model
from transformers import PreTrainedModel

from orpo.errors import ConfigError
from orpo.modeling.kinds import LANGUAGE_MODEL, ModelKind


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
        ConfigError: no module has such a name, or its weights are another's too.
    """
    modules = target if isinstance(target, str) else list(target)
    names = [name for name, _ in model.named_modules()]
    leaves = sorted({name.rsplit(".", 1)[-1] for name, m in model.named_modules() if hasattr(m, "weight")})
    hint = f"Modules of this model: {', '.join(leaves)}; or all-linear."
    asked = {"target": modules if isinstance(modules, list) else [], "modules_to_save": modules_to_save}
    for key, wanted in ((key, wanted) for key, all_wanted in asked.items() for wanted in all_wanted):
        found = [name for name in names if name == wanted or name.endswith(f".{wanted}")]
        if not found:
            raise ConfigError(f"model.lora.{key}: the model has no module {wanted}", hint=hint)
        _refuse_shared(model, key, found)
    config = LoraConfig(
        r=r,
        lora_alpha=alpha,  # type: ignore[arg-type]  PEFT divides it as a float
        lora_dropout=dropout,
        target_modules=modules,
        use_rslora=rslora,
        use_dora=dora,
        modules_to_save=list(modules_to_save) or None,
        task_type=kind.peft_task,
    )
    try:
        with warnings.catch_warnings():
            # PEFT reads a property that transformers has renamed; nothing for users to act on.
            warnings.filterwarnings("ignore", ".*is_gradient_checkpointing", FutureWarning)
            return get_peft_model(model, config)  # type: ignore[return-value]
    except ValueError as error:
        raise ConfigError(f"model.lora.target: {error}", hint=hint) from None


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
