"""The sides of the comparison, each of them its own unmodified training loop.

All are given the same pairs in the same order, the same initial weights and the same optimizer, and run a
global batch as one micro-batch unless they say otherwise.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import datasets
import torch
from transformers import PrinterCallback, TrainerCallback

from orpo.batch import Layout
from orpo.config.schema import TrainingSection
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.engine import build_scorer
from orpo.modeling.load import padding_id
from orpo.modeling.scorer import PairScorer
from orpo.objectives import ORPO
from orpo.objectives.orpo import Definition
from orpo.ops.distributed import World
from orpo.training.batches import Batches
from orpo.training.loop import TrainingLoop

from .trl_peer import trl_trainer
from .workload import Workload

LAMBDA = 0.1
OPTIMISATION: dict[str, Any] = {"learning_rate": 8e-6, "weight_decay": 0.1, "max_grad_norm": 1.0}
"""Settings that have the same name on both sides; the rate is constant, and the optimizer AdamW."""


class Side(Protocol):
    """One way of training."""

    def train(self, workload: Workload, steps: int, callback: TrainerCallback) -> None:
        """Take `steps` optimizer steps over the batches of `workload`, again and again if they run out."""
        ...


@dataclass(frozen=True)
class Ours:
    """`orpo train` from the tokenised pairs on."""

    definition: Definition = "paper"
    layout: Layout | Literal["auto"] = "auto"

    whole_logits: bool = False
    """Scores from the logits of all tokens, as a model returns them, instead of the fused head."""

    precision: Literal["float32", "bfloat16"] = "float32"

    max_tokens: int | Literal["auto"] = 10**9
    """Tokens of a micro-batch at most."""

    checkpointing: bool | Literal["selective"] = False
    """Of activations."""

    def train(self, workload: Workload, steps: int, callback: TrainerCallback) -> None:
        scorer, objective = self._scorer(workload), ORPO(LAMBDA, self.definition)
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
        TrainingLoop(
            scorer=scorer,
            tokenizer=workload.tokenizer,
            objective=objective,
            batches=Batches.of(
                workload.pairs,
                settings,
                objective,
                layout=scorer.layout,
                pad_id=padding_id(workload.tokenizer),
                max_length=workload.size.max_length,
                world=world,
            ),
            settings=settings,
            max_tokens=self.max_tokens,
            world=world,
            evaluate=None,
            save=lambda: None,
            run_dir=None,
            output="not written",
            callbacks=(callback,),
        ).run()

    def _scorer(self, workload: Workload) -> PairScorer:
        model = workload.new_model()
        if self.checkpointing:
            checkpoint_activations(model, selective=self.checkpointing == "selective")
        if self.whole_logits:
            return PairScorer(model, layout=Layout(self.layout), head=None)
        return build_scorer(model, layout=self.layout, max_length=workload.size.max_length)


class Trl:
    """TRL's ORPOTrainer."""

    def train(self, workload: Workload, steps: int, callback: TrainerCallback) -> None:
        datasets.disable_progress_bars()
        with tempfile.TemporaryDirectory() as folder:
            trainer = trl_trainer(
                workload.new_model(),
                workload.pairs,
                workload.tokenizer,
                folder,
                callbacks=[callback],
                beta=LAMBDA,
                max_length=workload.size.max_length,
                per_device_train_batch_size=workload.size.batch_size,
                max_steps=steps,
                train_sampling_strategy="sequential",
                lr_scheduler_type="constant",
                bf16=False,
                use_cpu=True,
                logging_steps=1,
                dataloader_pin_memory=False,
                **OPTIMISATION,
            )
            trainer.remove_callback(PrinterCallback)
            trainer.train()


OURS: dict[str, Side] = {
    "ours": Ours(),
    "ours, definition trl": Ours(definition="trl"),
    "ours, selective": Ours(checkpointing="selective"),
    "ours, selective, definition trl": Ours(checkpointing="selective", definition="trl"),
    "ours, checkpointed": Ours(checkpointing=True),
    "ours, bf16": Ours(precision="bfloat16"),
    "ours, max_tokens auto": Ours(max_tokens="auto"),
}

RUNGS: dict[str, Side] = {
    "shared, whole logits": Ours(layout=Layout.SHARED, whole_logits=True),
    "packed, whole logits": Ours(layout=Layout.PACKED, whole_logits=True),
    "padded, whole logits": Ours(layout=Layout.PADDED, whole_logits=True),
}
"""The steps of the ladder from padded rows to `ours`."""

ONE_PAIR: dict[str, Side] = {"ours, one pair at a time": Ours(max_tokens=1)}

TRL: dict[str, Side] = {"trl": Trl()}

SIDES = OURS | RUNGS | ONE_PAIR | TRL
"""TRL is last: its Accelerator does not survive the making of another side's `TrainingArguments`."""
