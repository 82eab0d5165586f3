"""Write `model/`: Hugging Face format, safetensors only, whole or not at all."""

from __future__ import annotations

import logging
import shutil
from contextlib import nullcontext
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from orpo.files import sync, sync_folder
from orpo.modeling.merge import merged_weights
from orpo.modeling.overrides import own_settings
from orpo.modeling.quantization import is_quantized, saved_unquantized
from orpo.modeling.scorer import unwrapped

log = logging.getLogger(__name__)


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
    _add_stop_ids(unwrapped(model), stop_ids)
    try:
        _write(model, tokenizer, staged, merge=merge, card=card)
    except SafetensorError as error:  # what a full disk comes out as
        raise OSError(str(error)) from None
    finally:
        if not (staged / "README.md").exists():
            shutil.rmtree(staged, ignore_errors=True)
    sync_folder(staged)
    shutil.rmtree(target, ignore_errors=True)
    staged.rename(target)
    sync(target.parent)


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
        base = unwrapped(model)
        if is_quantized(base):
            log.info("merging into weights of %s, without quantisation", base.dtype)
        weights = merged_weights(model)
        with own_settings(base), saved_unquantized(base) if is_quantized(base) else nullcontext():
            base.save_pretrained(folder, state_dict=weights)
    else:
        with own_settings(unwrapped(model)):
            model.save_pretrained(str(folder))
        if generation := _generation_config(unwrapped(model)):
            generation.save_pretrained(folder)  # PEFT leaves it out
    tokenizer.save_pretrained(folder)
    (folder / "README.md").write_text(card, encoding="utf-8")


def _add_stop_ids(model: PreTrainedModel, stop_ids: tuple[int, ...]) -> None:
    """Let `generate` stop where the training data's responses end."""
    config = _generation_config(model)
    if config is None:
        return
    known = config.eos_token_id
    ids = [known] if isinstance(known, int) else list(known or [])
    ids += [i for i in stop_ids if i not in ids]
    config.eos_token_id = ids[0] if len(ids) == 1 else ids


def _generation_config(model: PreTrainedModel) -> GenerationConfig | None:
    """What `generate` does by default; a reward model generates nothing."""
    return getattr(model, "generation_config", None)
