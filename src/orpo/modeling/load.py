"""Load a tokenizer and a causal language model, or say exactly why not."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import nn
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING

from orpo.errors import ConfigError
from orpo.modeling.hub import loading

log = logging.getLogger(__name__)

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


@dataclass(frozen=True)
class LoadedModel:
    """A model, the tokenizer that goes with it and where they came from."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    commit: str | None
    """Hub commit of the weights; None for a folder."""

    @property
    def max_positions(self) -> int | None:
        """Tokens that the model has positions for, if its configuration says so."""
        return getattr(self.model.config, "max_position_embeddings", None)


@dataclass(frozen=True)
class LoadedTokenizer:
    """What preparing data needs of a model: everything but its weights."""

    tokenizer: PreTrainedTokenizerBase

    max_positions: int | None
    """See `LoadedModel`."""


def padding_id(tokenizer: PreTrainedTokenizerBase) -> int:
    """An id to fill rows with; without a pad token any will do, since padding is never looked at."""
    pad = tokenizer.pad_token_id
    return pad if isinstance(pad, int) else 0


def load_tokenizer(name: str, *, revision: str | None = None) -> PreTrainedTokenizerBase:
    """The tokenizer of a model.

    Args:
        name: folder or Hub id.
        revision: Hub revision.

    Raises:
        ConfigError, NetworkError: it does not exist or cannot be loaded.
    """
    with loading("tokenizer", name, revision) as place:
        return AutoTokenizer.from_pretrained(place, revision=revision, trust_remote_code=False)


def load_without_weights(name: str, *, revision: str | None = None) -> LoadedTokenizer:
    """The tokenizer of a causal language model, and what its configuration says.

    Args:
        name: folder or Hub id.
        revision: Hub revision.

    Raises:
        ConfigError, NetworkError: see `load_model`.
    """
    tokenizer = load_tokenizer(name, revision=revision)
    with loading("model", name, revision) as place:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        _require_causal(config, name)
    return LoadedTokenizer(tokenizer, getattr(config, "max_position_embeddings", None))


def load_model(
    name: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    random_init: bool = False,
) -> LoadedModel:
    """A causal language model with all its dropout set to 0, and its tokenizer.

    Args:
        name: folder or Hub id.
        revision: Hub revision.
        dtype: type in which the weights are kept, a key of `DTYPES`.
        random_init: draw weights from torch's global generator instead of loading them.

    Raises:
        ConfigError: it is not a causal language model, its weights are incomplete, or the tokenizer
            has ids that the model has no embedding for.
        NetworkError: the Hub did not answer or refused.
    """
    tokenizer = load_tokenizer(name, revision=revision)
    with loading("model", name, revision) as place:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        _require_causal(config, name)
        if random_init:
            model = AutoModelForCausalLM.from_config(config, dtype=DTYPES[dtype], trust_remote_code=False)
        else:
            model, info = AutoModelForCausalLM.from_pretrained(  # pyright: ignore[reportGeneralTypeIssues]
                place,
                revision=revision,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
            )
            if missing := sorted(info["missing_keys"]):
                raise ConfigError(
                    f"the model at {name} lacks weights of its architecture: {', '.join(missing[:3])}"
                    + (f" and {len(missing) - 3} more" if len(missing) > 3 else ""),
                    hint="It may be a checkpoint of another kind, such as a classifier.",
                )
    num_embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_embeddings:
        raise ConfigError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, but the model embeds only "
            f"{num_embeddings}",
            hint="Use the tokenizer that belongs to the model, or resize its embeddings first.",
        )
    if silenced := _disable_dropout(model):
        log.info("dropout set to 0 for training: %s", ", ".join(silenced))
    _require_left_to_right(model, name)
    return LoadedModel(model, tokenizer, commit=getattr(config, "_commit_hash", None))


def _require_causal(config: PretrainedConfig, name: str) -> None:
    """Refuse encoders, encoder-decoders and classifiers, which score nothing left to right."""
    architectures = config.architectures or []
    causal_class = MODEL_FOR_CAUSAL_LM_MAPPING.get(type(config), None)
    names = causal_class if isinstance(causal_class, tuple) else (causal_class,)
    known = {c.__name__ for c in names if c is not None}
    if config.is_encoder_decoder or not known or (architectures and not known.intersection(architectures)):
        found = ", ".join(architectures) or type(config).__name__
        raise ConfigError(
            f"model.name: expected a causal language model, but {name} is {found}",
            hint="ORPO needs a decoder that predicts the next token, such as Llama, Qwen, Mistral or OPT.",
        )


@torch.no_grad()
def _require_left_to_right(model: PreTrainedModel, name: str) -> None:
    """Refuse a model whose earlier predictions see later tokens, by changing a last token once.

    Scores of such a model would leak the response, and padding would reach real tokens.
    """
    ids = torch.arange(8).remainder(model.config.get_text_config().vocab_size).repeat(2, 1)
    ids[1, -1] = 0
    model.eval()
    first, second = model(input_ids=ids.to(model.device), use_cache=False).logits[:, :-1].float()
    noise = 32 * torch.finfo(model.dtype).eps * first.abs().max().item()
    if (first - second).abs().max().item() > noise:
        raise ConfigError(
            f"model.name: expected a model that reads left to right, but a later token changes {name}'s "
            "earlier predictions",
            hint="Encoders such as BERT can be loaded as decoders, but need is_decoder in their config.json.",
        )


def _disable_dropout(model: nn.Module) -> list[str]:
    """Set every dropout probability to 0 and name those that were not."""
    silenced: set[str] = set()
    for module in model.modules():
        if isinstance(module, nn.Dropout) and module.p > 0:
            silenced.add(f"Dropout({module.p})")
            module.p = 0.0
        # Attention and layer-drop probabilities and a router's jitter are plain attributes, read in forward.
        for key, value in vars(module).items():
            if ("drop" in key or "jitter" in key) and isinstance(value, float) and value > 0:
                silenced.add(f"{key}={value}")
                setattr(module, key, 0.0)
    return sorted(silenced)
