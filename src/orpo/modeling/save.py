"""Write `model/`: Hugging Face format, safetensors only, whole or not at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, cast

from peft import PeftModel
from peft.tuners.lora import LoraLayer
from safetensors import SafetensorError
from torch import Tensor
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase


def save_model(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    target: Path,
    *,
    merge: bool,
    stop_ids: tuple[int, ...],
    card: str,
) -> None:
    """Write weights, tokenizer and model card, replacing what `target` held.

    Everything is written beside `target` first and renamed at the end, so that an interrupted save leaves
    the previous model or none.

    Args:
        model: the trained model; of PEFT's wrapper only the adapter is written, unless `merge`.
        tokenizer: with the chat template that the model was trained with.
        target: the folder to write.
        merge: write the adapter merged into its base instead.  `model` itself stays unmerged.
        stop_ids: tokens that end a response; generation stops at any of them.
        card: text of README.md.

    Raises:
        OSError: the system refused to write; nothing of the attempt is left.
    """
    staged = target.with_name(target.name + ".tmp")
    shutil.rmtree(staged, ignore_errors=True)
    _add_stop_ids(_base(model), stop_ids)
    try:
        _write(model, tokenizer, staged, merge=merge, card=card)
    except SafetensorError as error:  # what a full disk comes out as
        raise OSError(str(error)) from None
    finally:
        if not (staged / "README.md").exists():
            shutil.rmtree(staged, ignore_errors=True)
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)


def _write(
    model: PreTrainedModel | PeftModel,
    tokenizer: PreTrainedTokenizerBase,
    folder: Path,
    *,
    merge: bool,
    card: str,
) -> None:
    """Fill `folder`; the card comes last."""
    if merge and isinstance(model, PeftModel):
        _base(model).save_pretrained(folder, state_dict=merged_weights(model))
    else:
        model.save_pretrained(str(folder))
        cast(GenerationConfig, _base(model).generation_config).save_pretrained(folder)  # PEFT leaves it out
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def merged_weights(model: PeftModel) -> dict[str, Tensor]:
    """The base model's state dict with each adapter's product added, without touching the model."""
    base = _base(model)
    weights = {
        name.replace(".base_layer.", "."): tensor
        for name, tensor in base.state_dict().items()
        if ".lora_" not in name
    }
    for name, module in base.named_modules():
        if isinstance(module, LoraLayer):
            layer = cast(Any, module)
            delta = layer.get_delta_weight(model.active_adapter)
            weight = layer.get_base_layer().weight.detach()
            weights[f"{name}.weight"] = (weight + delta.detach()).to(weight.dtype)
    return weights


def _base(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model itself, adapters included, without PEFT's wrapper."""
    return cast(PreTrainedModel, model.get_base_model()) if isinstance(model, PeftModel) else model


def _add_stop_ids(model: PreTrainedModel, stop_ids: tuple[int, ...]) -> None:
    """Let `generate` stop where the training data's responses end."""
    config = model.generation_config
    assert isinstance(config, GenerationConfig)
    known = config.eos_token_id
    ids = [known] if isinstance(known, int) else list(known or [])
    ids += [i for i in stop_ids if i not in ids]
    config.eos_token_id = ids[0] if len(ids) == 1 else ids
