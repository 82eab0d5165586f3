"""What a model is loaded as: a language model, a reward model to train, or a judge."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoModelForSequenceClassification,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING,
)

from orpo.errors import ConfigError

VALUE_HEAD = "score"
"""Name of the layer from hidden states to a value in transformers' decoders with a classification head."""

_DECODERS = "such as Llama, Qwen, Mistral or OPT"

Outputs = Callable[..., Tensor]
"""From a model and the keywords of its forward pass to what it makes of each token."""


@dataclass(frozen=True)
class ModelKind:
    """One of the things that a decoder can be."""

    auto_class: Any
    """transformers' class that loads it."""

    settings: Mapping[str, Any]
    """What its configuration is given."""

    peft_task: str
    """PEFT's name of the task."""

    outputs: Outputs
    """(R, T, ...) what the model makes of each token."""

    is_reward: bool = False

    reads_left_to_right: bool = True
    """Whether it has to, so that nothing that follows a token changes what is made of it."""

    def require(self, config: PreTrainedConfig, name: str) -> None:
        """Refuse what cannot be loaded as this.

        Args:
            config: of the model.
            name: of the model, for the message.

        Raises:
            ConfigError: it is an encoder, an encoder-decoder, or a classifier of another kind.
        """
        found = config.architectures or []
        causal = _class_names(MODEL_FOR_CAUSAL_LM_MAPPING, config)
        classifier = _class_names(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, config)
        accepted = causal | classifier if self.is_reward else causal
        if config.is_encoder_decoder or not causal or (found and not accepted.intersection(found)):
            raise ConfigError(
                f"model: expected a causal language model, but {name} is "
                f"{', '.join(found) or type(config).__name__}",
                hint=f"ORPO needs a decoder that predicts the next token, {_DECODERS}.",
            )
        if not self.is_reward:
            return
        if not classifier:
            raise ConfigError(
                f"objective.name: reward: transformers has no sequence-classification model for {name}, "
                f"which is {', '.join(found) or type(config).__name__}",
                hint=f"Use a decoder that it has one for, {_DECODERS}.",
            )
        if classifier.intersection(found) and config.num_labels != 1:
            raise ConfigError(
                f"objective.name: reward: expected one label, but {name} is a classifier of "
                f"{config.num_labels}",
                hint="Start from a language model, or from a reward model.",
            )

    def may_lack(self, weight: str, config: PreTrainedConfig) -> bool:
        """Whether a checkpoint may lack a weight, which is drawn then: the value head, in a language model's.

        Args:
            weight: its name.
            config: that of the checkpoint.
        """
        language_model = _class_names(MODEL_FOR_CAUSAL_LM_MAPPING, config)
        starts_as_one = bool(language_model.intersection(config.architectures or ()))
        return self.is_reward and starts_as_one and weight.startswith(f"{VALUE_HEAD}.")


@dataclass(frozen=True)
class _Judge(ModelKind):
    """A reward model of anybody's, encoders among them, that is only asked."""

    def require(self, config: PreTrainedConfig, name: str) -> None:
        """Refuse what gives no value to a text; see `ModelKind.require`."""
        found = config.architectures or []
        if not _class_names(MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING, config).intersection(found):
            raise ConfigError(
                f"expected a reward model, but {name} is {', '.join(found) or type(config).__name__}",
                hint="That is a sequence-classification model of transformers with one label, such as a run "
                "with objective.name: reward leaves.",
            )
        if config.num_labels != 1:
            raise ConfigError(
                f"expected a reward model with one label, but {name} is a classifier of {config.num_labels}",
                hint="Its labels would have to be turned into one value, and only who made it knows how.",
            )


def _class_names(mapping: Any, config: PreTrainedConfig) -> set[str]:
    """The classes that transformers has for a configuration."""
    known = mapping.get(type(config), None)
    classes = known if isinstance(known, tuple) else (known,)
    return {one.__name__ for one in classes if one is not None}


def _logits(model: PreTrainedModel, **inputs: Any) -> Tensor:
    return model(use_cache=False, **inputs).logits


def _states(model: PreTrainedModel, **inputs: Any) -> Tensor:
    """Hidden states: the head is given those of one token of a text only."""
    return model.base_model(use_cache=False, **inputs).last_hidden_state


LANGUAGE_MODEL = ModelKind(AutoModelForCausalLM, {}, "CAUSAL_LM", _logits)

REWARD_MODEL = ModelKind(
    AutoModelForSequenceClassification, {"num_labels": 1}, "SEQ_CLS", _states, is_reward=True
)

JUDGE = _Judge(AutoModelForSequenceClassification, {}, "SEQ_CLS", _states, reads_left_to_right=False)
