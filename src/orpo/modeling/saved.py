"""Read what a run has saved: a whole model, or adapters with the model that they belong to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from peft import PeftModel
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from orpo.errors import CheckpointError
from orpo.modeling.kinds import ModelKind
from orpo.modeling.load import load_model, load_tokenizer
from orpo.modeling.padding import make_room, require_padding

_ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Base:
    """The model that adapters were trained for."""

    name: str
    revision: str | None
    quantization: str | None


def load_saved(
    folder: Path, base: Base | None, *, dtype: str, kind: ModelKind
) -> tuple[PreTrainedModel | PeftModel, PreTrainedTokenizerBase]:
    """The model in a folder that `save_model` has written, and its tokenizer.

    Args:
        folder: `model/` of a run.
        base: of adapters; None if the folder holds a whole model.
        dtype: see `load_model`.
        kind: what was trained.

    Raises:
        CheckpointError: there is none, or an adapter without its weights.
        ConfigError, NetworkError: see `load_model`, of an adapter's base too.
    """
    if not folder.is_dir():
        raise CheckpointError(
            f"{folder.parent}: the run has saved no model yet",
            hint="Let it end, or go on with --resume auto.",
        )
    if base is None:
        whole = load_model(str(folder), dtype=dtype, kind=kind)
        return whole.model, whole.tokenizer
    if not (folder / _ADAPTER).exists():  # where it is missing, PEFT looks for a pickle
        raise CheckpointError(
            f"{folder} has no {_ADAPTER}",
            hint="Bring it back from a copy, or train again with output=PATH.",
        )
    source = load_model(
        base.name, revision=base.revision, dtype=dtype, quantization=base.quantization, kind=kind
    )
    tokenizer = load_tokenizer(str(folder))
    if kind.is_reward:  # training may have added a pad token, and neither base nor adapters know of it
        make_room(source.model, tokenizer)
        require_padding(source.model, tokenizer, ())
    return PeftModel.from_pretrained(source.model, str(folder)), tokenizer
