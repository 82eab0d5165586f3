"""Load a tokenizer and a model, or say exactly why not."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from transformers import AutoConfig, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from orpo.errors import ConfigError
from orpo.modeling.hub import loading, refuse_pickled_weights
from orpo.modeling.kinds import LANGUAGE_MODEL, ModelKind
from orpo.modeling.left_to_right import require_left_to_right
from orpo.modeling.noise import silence, warn_if_random
from orpo.modeling.overrides import override
from orpo.modeling.quantization import keep_codes, quantization_config

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
    _keep_weights_in_evaluation(model)
    model.eval()
    silence(model, kind.outputs)
    if kind.reads_left_to_right:  # the others are only asked
        require_left_to_right(model, name, kind.outputs)
        warn_if_random(model, name, kind.outputs)
    return LoadedModel(model, tokenizer, commit=getattr(config, "_commit_hash", None))


def _keep_weights_in_evaluation(model: PreTrainedModel) -> None:
    """Keep RWKV from dividing its weights by powers of 2 while it is evaluated, in place.

    It does so for products in float16, and multiplies them again in the next pass in training: what is saved
    in between would be divided.
    """
    if getattr(model.config, "rescale_every", 0) > 0:
        override(model, model.config, "rescale_every", 0)
