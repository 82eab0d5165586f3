"""From a micro-batch to its scores: the model's own forward pass, and the head."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, TypeVar, overload

from peft import PeftModel
from torch import Tensor, nn
from transformers import PreTrainedModel

from orpo.batch import Layout, MicroBatch, Scores
from orpo.modeling.attention import KEYWORD, NAME, attention_of
from orpo.modeling.head import OutputHead
from orpo.modeling.routing import RouterLoss
from orpo.ops.logprobs import logits_log_probs, segment_sums
from orpo.ops.recompute import recompute_cheap_results

T = TypeVar("T")


class PairScorer(nn.Module):
    """Scores of micro-batches.

    Args:
        model: a causal language model of transformers, or PEFT's wrapper of one.
        layout: of the micro-batches that it will be given.
        head: from hidden states to log-probabilities; None to take them from the model's logits.
        router_loss: what training adds for a mixture of experts; None for other models.
    """

    def __init__(
        self,
        model: PreTrainedModel | PeftModel,
        *,
        layout: Layout,
        head: OutputHead | None,
        router_loss: RouterLoss | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.layout = layout
        self.head = head
        self.router_loss = router_loss

    def attention(self) -> AbstractContextManager[object]:
        """What must be entered around forward and backward passes; elsewhere the model is as it was."""
        return nullcontext() if self.layout is Layout.PADDED else attention_of(unwrapped(self.model), NAME)

    @overload
    def forward(self, batch: MicroBatch) -> Scores: ...

    @overload
    def forward(self, batch: MicroBatch, compute: Callable[[MicroBatch], T]) -> T: ...

    def forward(self, batch: MicroBatch, compute: Callable[[MicroBatch], T] | None = None) -> Scores | T:
        """Scores of the batch's B pairs, with gradient unless disabled.

        Args:
            batch: B pairs.
            compute: what to do with the batch instead.  It is done within this forward pass, since that is
                where a model whose weights are shared out over processes has them.
        """
        return self.scores(self.states(batch), batch) if compute is None else compute(batch)

    def states(self, batch: MicroBatch) -> Tensor:
        """What becomes log-probabilities: (N, D) hidden states, or (N, V) logits if there is no head."""
        return self._run(batch)[0]

    def routed_states(self, batch: MicroBatch) -> tuple[Tensor, Sequence[Tensor]]:
        """`states`, and the (R * T, E) logits of each layer's router."""
        states, outputs = self._run(batch, output_router_logits=True)
        return states, outputs.router_logits

    def _run(self, batch: MicroBatch, **asked: bool) -> tuple[Tensor, Any]:
        """The states, and what the model returned."""
        # Measured on a processor only, where it costs no time and saves a third of the activations.
        saving = recompute_cheap_results() if batch.input_ids.device.type == "cpu" else nullcontext()
        with saving:
            outputs = self._outputs(batch, **asked)
            return self._states(outputs, batch), outputs

    def _outputs(self, batch: MicroBatch, **asked: bool) -> Any:
        """What the model returns: of its decoder alone, if the head is apart."""
        model = self.model if self.head is None else unwrapped(self.model).base_model
        return model(**model_inputs(batch), **asked)

    def _states(self, outputs: Any, batch: MicroBatch) -> Tensor:
        rows = outputs.logits if self.head is None else outputs.last_hidden_state
        return rows.flatten(0, 1)[batch.rows]

    def scores(self, states: Tensor, batch: MicroBatch) -> Scores:
        """Scores of the batch's B pairs from its (N, ...) `states`."""
        compute = logits_log_probs if self.head is None else self.head
        log_probs = compute(states, batch.targets)
        return collect(log_probs, batch)


def model_inputs(batch: MicroBatch) -> dict[str, Any]:
    """What the model's forward pass is called with."""
    inputs: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
    if batch.attention is not None:
        inputs |= {"position_ids": batch.attention.position_ids, KEYWORD: batch.attention}
    return inputs


def collect(log_probs: Tensor, batch: MicroBatch) -> Scores:
    """Scores of a batch's B pairs from the (N,) log-probabilities of its scored tokens."""
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
        margin=batch.margin.to(sums.dtype),
        reference=None if batch.reference is None else batch.reference.to(sums.dtype),
    )


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode, and afterwards in the one that it was in."""
    training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(training)


def unwrapped(model: PreTrainedModel | PeftModel) -> PreTrainedModel:
    """The model of transformers itself, with any adapters in place."""
    return model.get_base_model() if isinstance(model, PeftModel) else model  # type: ignore[return-value]
