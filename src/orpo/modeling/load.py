"""Load a tokenizer and a model, or say exactly why not."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import nn
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from orpo.errors import ConfigError
from orpo.modeling.hub import loading, refuse_pickled_weights
from orpo.modeling.kinds import LANGUAGE_MODEL, ModelKind
from orpo.modeling.quantization import keep_codes, quantization_config

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


def load_without_weights(
    name: str, *, revision: str | None = None, kind: ModelKind = LANGUAGE_MODEL
) -> LoadedTokenizer:
    """The tokenizer of a model, and what its configuration says.

    Args:
        name: folder or Hub id.
        revision: Hub revision.
        kind: what it has to be.

    Raises:
        ConfigError, NetworkError: see `load_model`.
    """
    tokenizer = load_tokenizer(name, revision=revision)
    with loading("model", name, revision) as place:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        kind.require(config, name)
    return LoadedTokenizer(tokenizer, getattr(config, "max_position_embeddings", None))


def load_model(
    name: str,
    *,
    revision: str | None = None,
    dtype: str = "float32",
    random_init: bool = False,
    quantization: str | None = None,
    products: torch.dtype | None = None,
    kind: ModelKind = LANGUAGE_MODEL,
) -> LoadedModel:
    """A model with all its dropout set to 0, and its tokenizer.

    Args:
        name: folder or Hub id.
        revision: Hub revision.
        dtype: type in which the weights are kept, a key of `DTYPES`.
        random_init: draw weights from torch's global generator instead of loading them.
        quantization: see `quantization_config`; None keeps all weights in `dtype`.
        products: type that quantised weights are multiplied in; None for `dtype`.
        kind: what it is loaded as; the head of a reward model that starts from a language model is drawn.

    Raises:
        ConfigError: it is no decoder, its weights are incomplete, or the tokenizer
            has ids that the model has no embedding for.
        NetworkError: the Hub did not answer or refused.
    """
    tokenizer = load_tokenizer(name, revision=revision)
    with loading("model", name, revision) as place:
        config = AutoConfig.from_pretrained(place, revision=revision, trust_remote_code=False)
        kind.require(config, name)
        config.update(dict(kind.settings))
        if random_init:
            model = kind.auto_class.from_config(config, dtype=DTYPES[dtype], trust_remote_code=False)
        else:
            refuse_pickled_weights(name, config)
            model, info = kind.auto_class.from_pretrained(
                place,
                config=config,
                revision=revision,
                dtype=DTYPES[dtype],
                quantization_config=(
                    quantization_config(quantization, products or DTYPES[dtype]) if quantization else None
                ),
                use_safetensors=True,
                output_loading_info=True,
                trust_remote_code=False,
            )
            if missing := sorted(key for key in info["missing_keys"] if not kind.may_lack(key, config)):
                raise ConfigError(
                    f"the model at {name} lacks weights of its architecture: {', '.join(missing[:3])}"
                    + (f" and {len(missing) - 3} more" if len(missing) > 3 else ""),
                    hint="It may be a checkpoint of another kind, such as a classifier.",
                )
    keep_codes(model)
    num_embeddings = model.get_input_embeddings().weight.shape[0]
    if len(tokenizer) > num_embeddings:
        raise ConfigError(
            f"the tokenizer of {name} has {len(tokenizer)} tokens, but the model embeds only "
            f"{num_embeddings}",
            hint="Use the tokenizer that belongs to the model, or resize its embeddings first.",
        )
    if silenced := _disable_dropout(model):
        log.info("dropout set to 0 for training: %s", ", ".join(silenced))
    if kind.reads_left_to_right:
        _require_left_to_right(model, name, kind)
    return LoadedModel(model, tokenizer, commit=getattr(config, "_commit_hash", None))


@torch.no_grad()
def _require_left_to_right(model: PreTrainedModel, name: str, kind: ModelKind) -> None:
    """Refuse a model whose earlier predictions see later tokens, by changing a last token once.

    Scores of such a model would leak the response, and padding would reach real tokens.
    """
    ids = torch.arange(8).remainder(model.config.get_text_config().vocab_size).repeat(2, 1)
    ids[1, -1] = 0
    model.eval()
    first, second = kind.outputs(model, input_ids=ids.to(model.device))[:, :-1].float()
    noise = 32 * torch.finfo(model.dtype).eps * first.abs().max().item()
    if (first - second).abs().max().item() > noise:
        raise ConfigError(
            f"model: expected a model that reads left to right, but a later token changes {name}'s "
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
