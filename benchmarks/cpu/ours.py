"""What a side of a comparison is, and ours: `TrainingLoop` as it is.

All are given the same pairs in the same order, the same initial weights and the same optimizer, and run a
global batch as one micro-batch unless they say otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor
from transformers import TrainerCallback

from orpo.allocator import HUGE_PAGES
from orpo.batch import Layout, MicroBatch, Totals
from orpo.config.schema import TrainingSection
from orpo.data.tokenized import TokenizedPairs
from orpo.evaluation.scoring import log_probs
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.compilation import compile_layers
from orpo.modeling.engine import build_scorer
from orpo.modeling.padding import padding_id
from orpo.modeling.scorer import PairScorer
from orpo.objectives import ORPO, Objective, ObjectiveOutput
from orpo.ops.distributed import World
from orpo.run.reference import Reference
from orpo.training.batches import Batches
from orpo.training.budget import TokenBudget
from orpo.training.loop import TrainingLoop
from orpo.training.loss import PairLoss

from .workload import Workload

LAMBDA = 0.1
OPTIMISATION: dict[str, Any] = {"learning_rate": 8e-6, "weight_decay": 0.1, "max_grad_norm": 1.0}
"""Settings that have the same name on both sides; the rate is constant, and the optimizer AdamW."""


PAPER = ORPO(LAMBDA)


class Side(Protocol):
    """One way of training."""

    @property
    def variables(self) -> Mapping[str, str]:
        """Of the environment that its process is started with."""
        ...

    def train(self, workload: Workload, steps: int, callback: TrainerCallback) -> None:
        """Take `steps` optimizer steps over the batches of `workload`, again and again if they run out."""
        ...


@dataclass(frozen=True)
class Ours:
    """`orpo train` from the tokenised pairs on."""

    objective: Objective = PAPER

    reference: Literal["cached", "live"] = "cached"
    """Where the objective needs one: scores computed once beforehand, or a second model beside the first."""

    layout: Layout | Literal["auto"] = "auto"

    whole_logits: bool = False
    """Scores from the logits of all tokens, as a model returns them, instead of the fused head."""

    precision: Literal["float32", "bfloat16"] = "float32"

    max_tokens: int | Literal["auto"] = 10**9
    """Tokens of a micro-batch at most."""

    checkpointing: bool | Literal["selective"] = False
    """Of activations."""

    compiled: bool = False
    """With `torch.compile`; its compiler works in the steps that do not count."""

    huge_pages: bool = True
    """Whether torch asks for them, as `orpo` has it do."""

    @property
    def variables(self) -> Mapping[str, str]:
        """How torch allocates."""
        return {HUGE_PAGES: "1" if self.huge_pages else "0"}

    def train(self, workload: Workload, steps: int, callback: TrainerCallback) -> None:
        scorer = self._scorer(workload)
        world = World(0, 1, torch.device("cpu"))
        settings = TrainingSection(
            batch_size=workload.size.batch_size,
            max_steps=steps,
            shuffle=False,
            schedule="constant",
            warmup=0.0,
            precision=self.precision,
            log_every=1,
            **OPTIMISATION,
        )
        batches = Batches.of(
            workload.pairs,
            settings,
            self.objective,
            layout=scorer.layout,
            pad_id=padding_id(workload.tokenizer),
            max_length=workload.size.max_length,
            world=world,
        )
        needs_reference = self.objective.needs_reference
        if needs_reference and self.reference == "cached":
            batches = replace(batches, pairs=scored_by_reference(workload, scorer, world))
        loop = TrainingLoop(
            scorer=scorer,
            tokenizer=workload.tokenizer,
            objective=self.objective,
            batches=batches,
            settings=settings,
            max_tokens=self.max_tokens,
            world=world,
            callbacks=(callback,),
        )
        if needs_reference and self.reference == "live":
            loss = LiveReferenceLoss(scorer, self.objective, self._scorer(workload))
            loop._gradient_step = replace(loop._gradient_step, loss=loss)
        loop.run()

    def _scorer(self, workload: Workload) -> PairScorer:
        model = workload.new_model()
        if self.checkpointing:
            checkpoint_activations(model, selective=self.checkpointing == "selective")
        if self.whole_logits:
            return PairScorer(model, layout=Layout(self.layout), head=None)
        scorer = build_scorer(model, layout=self.layout, max_length=workload.size.max_length)
        if self.compiled:
            compile_layers(model)
        return scorer


class LiveReferenceLoss(PairLoss):
    """A loss whose reference scores come of a second, frozen model, batch by batch."""

    def __init__(self, scorer: PairScorer, objective: Objective, reference: PairScorer) -> None:
        super().__init__(scorer, objective)
        self.reference = reference.eval().requires_grad_(False)

    def forward(
        self, batch: MicroBatch, totals: Totals, factor: Tensor, world: World | None = None
    ) -> ObjectiveOutput:
        with torch.no_grad(), self.reference.attention():
            scored = replace(batch, reference=log_probs(self.reference(batch)))
        return super().forward(scored, totals, factor, world)


def scored_by_reference(workload: Workload, scorer: PairScorer, world: World) -> TokenizedPairs:
    """The pairs of a workload with the scores of the model as it is, in passes as large as the steps'."""
    budget = max(batch[scorer.layout.value] for batch in workload.describe())
    reference = Reference(
        scorer,
        pad_id=padding_id(workload.tokenizer),
        budget=TokenBudget(budget, "the largest batch", world),
        world=world,
        dtype=None,
        folder=None,
    )
    return workload.pairs.with_references(reference.score(workload.pairs))
