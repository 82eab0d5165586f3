"""The sides of the comparison with TRL, each of them its own unmodified training loop."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

import datasets
from transformers import PrinterCallback, TrainerCallback

from orpo.allocator import HUGE_PAGES
from orpo.batch import Layout
from orpo.objectives import ORPO

from .ours import LAMBDA, OPTIMISATION, Ours, Side
from .trl_peer import trl_trainer
from .workload import Workload


@dataclass(frozen=True)
class Trl:
    """TRL's ORPOTrainer."""

    huge_pages: bool = False
    """Whether torch asks for them, which is not its default."""

    @property
    def variables(self) -> Mapping[str, str]:
        """How torch allocates."""
        return {HUGE_PAGES: "1" if self.huge_pages else "0"}

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
    "ours, definition trl": Ours(ORPO(LAMBDA, "trl")),
    "ours, selective": Ours(checkpointing="selective"),
    "ours, selective, definition trl": Ours(ORPO(LAMBDA, "trl"), checkpointing="selective"),
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

VARIANTS: dict[str, Side] = {
    "ours, compiled": Ours(compiled=True),
    "ours, small pages": Ours(huge_pages=False),
    "trl, huge pages": Trl(huge_pages=True),
}
"""What a setting is worth, on either side; timed when they are named."""

TRL: dict[str, Side] = {"trl": Trl()}

SIDES = OURS | RUNGS | ONE_PAIR | VARIANTS | TRL
"""TRL is last: its Accelerator does not survive the making of another side's `TrainingArguments`."""
