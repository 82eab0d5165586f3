"""The one root module of a run: model and scores together, so that DDP's hooks see every forward."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from orpo.batch import Layout, MicroBatch, Scores
from orpo.modeling.attention import KEYWORD, NAME, attention_of
from orpo.modeling.head import OutputHead
from orpo.ops.logprobs import logits_log_probs, segment_sums


class PairScorer(nn.Module):
    """Scores of micro-batches.

    Args:
        model: a causal language model of transformers, or PEFT's wrapper of one.
        layout: of the micro-batches that it will be given.
        head: from hidden states to log-probabilities; None to take them from the model's logits.
    """

    def __init__(
        self, model: PreTrainedModel | PeftModel, *, layout: Layout, head: OutputHead | None
    ) -> None:
        super().__init__()
        self.model = model
        self.layout = layout
        self._head = head

    def attention(self) -> AbstractContextManager[object]:
        """What must be entered around forward and backward passes; elsewhere the model is as it was."""
        return nullcontext() if self.layout is Layout.PADDED else attention_of(causal_model(self.model), NAME)

    def forward(self, batch: MicroBatch) -> Scores:
        """Scores of the batch's B pairs, with gradient unless disabled."""
        inputs = {"input_ids": batch.input_ids, "use_cache": False}
        if batch.attention is not None:
            inputs |= {"position_ids": batch.attention.position_ids, KEYWORD: batch.attention}
        if self._head is None:
            logits = self.model(**inputs).logits.flatten(0, 1)[batch.rows]
            log_probs = logits_log_probs(logits, batch.targets)
        else:
            hidden = causal_model(self.model).base_model(**inputs).last_hidden_state
            log_probs = self._head(hidden.flatten(0, 1)[batch.rows], batch.targets)
        sums = segment_sums(log_probs, batch.segments, batch.counts.numel())
        chosen, rejected, prompt = sums.view_as(batch.counts)
        chosen_count, rejected_count, prompt_count = batch.counts.to(sums.dtype)
        return Scores(
            chosen=chosen,
            rejected=rejected,
            prompt=prompt,
            chosen_count=chosen_count,
            rejected_count=rejected_count,
            prompt_count=prompt_count,
            weight=batch.weight.to(sums.dtype),
        )


def causal_model(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The causal language model itself, with any adapters in place."""
    return model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[return-value]
