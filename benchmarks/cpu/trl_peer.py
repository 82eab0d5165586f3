"""TRL's ORPOTrainer, given the token ids that ours is given.

Imported by the benchmarks of processors and GPUs and by the tests of equality.  TRL and what
it brings are imported when a trainer is made, since not every machine has them.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from transformers import PreTrainedModel, PreTrainedTokenizerBase, TrainerCallback

from orpo.data.pairs import TokenizedPair

if TYPE_CHECKING:
    from trl.experimental.orpo import ORPOTrainer


def trl_trainer(
    model: PreTrainedModel,
    pairs: Iterable[TokenizedPair],
    tokenizer: PreTrainedTokenizerBase,
    folder: str,
    *,
    callbacks: Sequence[TrainerCallback] = (),
    peft_config: Any = None,
    **settings: Any,
) -> ORPOTrainer:
    """A trainer that tokenises nothing, checkpoints no activations, saves nothing and reports nowhere.

    Args:
        model: to train.
        pairs: in the order of training, if `settings` do not shuffle.
        tokenizer: for padding only.
        folder: that TRL may write to.
        callbacks: of transformers.
        peft_config: adapters to train, or None.
        settings: of `ORPOConfig`.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TRL announces that ORPO is experimental
        from datasets import Dataset
        from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    class SameIds(ORPOTrainer):
        """TRL's trainer on rows that are tokenised already."""

        def tokenize_row(self, feature: dict[str, Any], model: object = None) -> dict[str, Any]:
            return {k: v for k, v in feature.items() if k.endswith(("_ids", "_mask", "_labels"))}

    config = ORPOConfig(
        output_dir=folder,
        activation_checkpointing=False,
        gradient_checkpointing=False,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        remove_unused_columns=False,
        **settings,
    )
    return SameIds(
        model=model,
        args=config,
        train_dataset=Dataset.from_list([trl_row(pair) for pair in pairs]),
        processing_class=tokenizer,
        peft_config=peft_config,
        callbacks=list(callbacks),
    )


def trl_row(pair: TokenizedPair) -> dict[str, Any]:
    """A row as TRL's own tokenize_row would write it, and the texts that its constructor looks for."""
    prompt = list(pair.prompt)
    row: dict[str, Any] = {
        "prompt": "",
        "prompt_input_ids": prompt,
        "prompt_attention_mask": [1] * len(prompt),
    }
    for side, response in (("chosen", list(pair.chosen)), ("rejected", list(pair.rejected))):
        row[side] = ""
        row[f"{side}_input_ids"] = prompt + response
        row[f"{side}_attention_mask"] = [1] * (len(prompt) + len(response))
        row[f"{side}_labels"] = [-100] * len(prompt) + response
    return row
