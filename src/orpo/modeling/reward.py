"""Values of responses, by a reward model: a sequence-classification model of transformers with one label."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor, nn
from torch.func import functional_call
from transformers import PreTrainedModel

from orpo.batch import Layout, MicroBatch, Scores
from orpo.errors import ConfigError
from orpo.modeling.kinds import VALUE_HEAD
from orpo.modeling.scorer import PairScorer, collect, model_inputs, unwrapped
from orpo.ops.precision import widened


class RewardScorer(PairScorer):
    """Values of responses, by a reward model.

    Args:
        model: a sequence-classification model of transformers with one label, or PEFT's wrapper of one.
        layout: of the micro-batches that it will be given.
    """

    def __init__(self, model: PreTrainedModel | PeftModel, *, layout: Layout) -> None:
        super().__init__(model, layout=layout, head=None)

    def _outputs(self, batch: MicroBatch, **asked: bool) -> Any:
        return unwrapped(self.model).base_model(**model_inputs(batch), **asked)

    def _states(self, outputs: Any, batch: MicroBatch) -> Tensor:
        """(2B, D) hidden states of the last tokens of the chosen and then of the rejected responses."""
        return outputs.last_hidden_state.flatten(0, 1)[batch.ends.flatten()]

    def scores(self, states: Tensor, batch: MicroBatch) -> Scores:
        """Scores of the batch's B pairs from its (2B, D) `states`."""
        head = value_head(unwrapped(self.model))
        wide = widened(states.dtype)
        weights = {name: weight.to(wide) for name, weight in head.named_parameters()}
        # A product of one column takes no time, and bfloat16 would leave values three digits.
        with torch.autocast(states.device.type, enabled=False):
            values = functional_call(head, weights, (states.to(wide),)).view_as(batch.ends)
        return replace(collect(values.new_zeros(batch.targets.shape), batch), values=values)


def value_head(model: PreTrainedModel) -> nn.Module:
    """The layer of a sequence-classification model from hidden states to a value.

    Raises:
        ConfigError: the architecture has none of its usual name.
    """
    head = getattr(model, VALUE_HEAD, None)
    if not isinstance(head, nn.Module):
        raise ConfigError(
            f"objective.name: reward: {type(model).__name__} has no value head named `{VALUE_HEAD}`",
            hint="Use a decoder such as Llama, Qwen, Mistral or OPT.",
        )
    return head
