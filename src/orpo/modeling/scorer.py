"""The one root module of a run: model and scores together, so that DDP's hooks see every forward."""

from __future__ import annotations

from torch import nn

from orpo.batch import PaddedBatch, Scores
from orpo.ops.logprobs import segment_log_probs


class PairScorer(nn.Module):
    """Scores of a micro-batch by the plain path: padded rows, whole-vocabulary logits.

    Args:
        model: a causal language model of transformers, or PEFT's wrapper of one.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: PaddedBatch) -> Scores:
        """Scores of the batch's B pairs, with gradient unless disabled."""
        logits = self.model(input_ids=batch.input_ids, use_cache=False).logits
        sums = segment_log_probs(logits, batch.positions, batch.targets, batch.segments, batch.counts.numel())
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
