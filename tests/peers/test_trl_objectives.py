"""SFT, DPO, IPO, SimPO, KTO and reward models: TRL 1.16's trainers give the same loss and the same gradients.

Both sides are given the same token ids of real pairs, and a policy that has moved away from its reference.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from datasets import Dataset
from torch import Tensor
from transformers import PreTrainedModel

from orpo.data.pairs import TokenizedPair
from orpo.data.tokenized import TokenizedPairs
from orpo.data.usable import learnt
from orpo.modeling.engine import build_scorer
from orpo.objectives import DPO, IPO, KTO, SFT, Objective, RewardModel, SimPO
from orpo.run.reference import Reference, with_reference
from orpo.training.budget import TokenBudget
from tests.loops import ALONE, make_loop, tokenized
from tests.paths import needs_shared
from tests.peers.test_trl import MAX_LENGTH, pairs, random_llama, tokenizer
from tests.tiny import tiny_reward_model

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # TRL announces that CPO is experimental
    from trl.experimental.cpo import CPOConfig, CPOTrainer
    from trl.trainer.dpo_config import DPOConfig
    from trl.trainer.dpo_trainer import DPOTrainer
    from trl.trainer.kto_config import KTOConfig
    from trl.trainer.kto_trainer import KTOTrainer
    from trl.trainer.reward_config import RewardConfig
    from trl.trainer.reward_trainer import RewardTrainer
    from trl.trainer.sft_config import SFTConfig
    from trl.trainer.sft_trainer import SFTTrainer

pytestmark = needs_shared

COUNT = 12

Loss = Callable[[PreTrainedModel, PreTrainedModel, list[TokenizedPair], Path], Tensor]
"""TRL's loss of a batch, from policy, reference and rows."""

COMMON: dict[str, Any] = {
    "per_device_train_batch_size": 2 * COUNT,
    "max_length": MAX_LENGTH,
    "bf16": False,
    "use_cpu": True,
    "activation_checkpointing": False,
    "save_strategy": "no",
    "report_to": "none",
    "disable_tqdm": True,
}
TEXTS = Dataset.from_list([{"prompt": "a", "chosen": " b", "rejected": " c"}] * 2)


def policy_and_reference() -> tuple[PreTrainedModel, PreTrainedModel]:
    """A reference from which the policy differs, and under which mismatched responses are less likely."""
    policy = random_llama()
    reference = copy.deepcopy(policy)
    torch.manual_seed(4)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.02)
    return policy, reference


def dpo(loss_type: str, beta: float) -> Loss:
    def loss(
        policy: PreTrainedModel, reference: PreTrainedModel, rows: list[TokenizedPair], out: Path
    ) -> Tensor:
        config = DPOConfig(output_dir=str(out), beta=beta, loss_type=[loss_type], **COMMON)
        trainer = DPOTrainer(policy, reference, config, train_dataset=TEXTS, processing_class=tokenizer())
        batch = trainer.data_collator(
            [
                {"prompt_ids": [*p.prompt], "chosen_ids": [*p.chosen], "rejected_ids": [*p.rejected]}
                for p in rows
            ]
        )
        return trainer._compute_loss(policy, batch, return_outputs=False)

    return loss


def kto(policy: PreTrainedModel, reference: PreTrainedModel, rows: list[TokenizedPair], out: Path) -> Tensor:
    config = KTOConfig(output_dir=str(out), beta=0.2, desirable_weight=1.5, undesirable_weight=0.75, **COMMON)
    texts = Dataset.from_list([{"prompt": "a", "completion": " b", "label": bool(i)} for i in range(2)])
    trainer = KTOTrainer(policy, reference, config, train_dataset=texts, processing_class=tokenizer())
    batch = trainer.data_collator(
        [
            {
                "prompt_ids": [*row.prompt],
                "completion_ids": [*row.chosen, *row.rejected],
                "KL_completion_ids": [*other.chosen, *other.rejected][: MAX_LENGTH - len(row.prompt)],
                "label": bool(row.chosen),
            }
            for row, other in zip(rows, [rows[-1], *rows[:-1]], strict=True)
        ]
    )
    return trainer._compute_loss(policy, batch, return_outputs=False)


def sft(policy: PreTrainedModel, _: PreTrainedModel, rows: list[TokenizedPair], out: Path) -> Tensor:
    texts = Dataset.from_list([{"prompt": "a", "completion": " b"}] * 2)
    config = SFTConfig(output_dir=str(out), **COMMON)
    trainer = SFTTrainer(policy, config, train_dataset=texts, processing_class=tokenizer())
    batch = trainer.data_collator(
        [
            {
                "input_ids": [*row.prompt, *row.chosen],
                "labels": [-100] * len(row.prompt) + [*row.chosen],
            }
            for row in rows
        ]
    )
    return trainer.compute_loss(policy, batch)


def simpo(policy: PreTrainedModel, _: PreTrainedModel, rows: list[TokenizedPair], out: Path) -> Tensor:
    config = CPOConfig(
        output_dir=str(out), beta=2.0, simpo_gamma=1.0, loss_type="simpo", cpo_alpha=0.0, **COMMON
    )
    trainer = CPOTrainer(policy, config, train_dataset=TEXTS, processing_class=tokenizer())
    features = []
    for row in rows:
        feature = {"prompt_input_ids": [*row.prompt], "prompt_attention_mask": [1] * len(row.prompt)}
        for side, response in (("chosen", row.chosen), ("rejected", row.rejected)):
            ids = [*row.prompt, *response]
            feature |= {
                f"{side}_input_ids": ids,
                f"{side}_attention_mask": [1] * len(ids),
                f"{side}_labels": [-100] * len(row.prompt) + [*response],
            }
        features.append(feature)
    loss, _metrics = trainer.get_batch_loss_metrics(policy, trainer.data_collator(features))
    return loss


def test_a_reward_models_loss_and_every_gradient_equal_trl(tmp_path: Path) -> None:
    objective = RewardModel(margin=0.25, center_rewards_coefficient=0.1)
    model = tiny_reward_model(vocab_size=512, positions=1024)
    mirrored = copy.deepcopy(model)
    given = pairs("hh", 128).select(np.arange(COUNT))
    rows = tokenized(replace(pair, margin=0.5 * (i % 4)) for i, pair in enumerate(given))
    config = RewardConfig(output_dir=str(tmp_path), center_rewards_coefficient=0.1, **COMMON)
    trainer = RewardTrainer(mirrored, config, train_dataset=TEXTS, processing_class=tokenizer())
    batch = trainer.data_collator(
        [
            {
                "chosen_ids": [*p.prompt, *p.chosen],
                "rejected_ids": [*p.prompt, *p.rejected],
                "margin": 0.25 + p.margin,
            }
            for p in rows
        ]
    )
    expected = trainer.compute_loss(mirrored, batch)
    assert isinstance(expected, Tensor)
    expected.backward()
    assert_equal(ours(objective, model, model, rows), expected, model, mirrored)


def ours(
    objective: Objective, policy: PreTrainedModel, reference: PreTrainedModel, rows: TokenizedPairs
) -> Tensor:
    """Our loss of all rows as one batch, with gradients in the policy."""
    loop = make_loop(
        model=policy,  # type: ignore[arg-type]
        pairs=rows,
        objective=objective,
        batch_size=len(rows),
        shuffle=False,
    )
    batches, step = replace(loop._batches, max_length=MAX_LENGTH), loop._gradient_step
    if objective.needs_reference:
        scorer = build_scorer(reference, layout="auto", max_length=MAX_LENGTH)
        frozen = Reference(scorer, 0, TokenBudget(10**6, "given", ALONE), ALONE, None, None)
        batches = with_reference(batches, None, objective, frozen, steps=1).batches
    (batch,) = batches.epoch(0)
    totals = batch.totals
    if batch.mismatch is not None:
        divergence = step.divergence(batches.micro_batches(batch.mismatch.pairs, 10**6), batch.mismatch)
        assert divergence > 0, "or the estimate would not be tested"
        totals = replace(totals, divergence=divergence)
    total, weight = step(batches.micro_batches(batch.pairs, 10**6), totals, lambda: None)["loss"]
    return total / weight


@pytest.mark.parametrize(
    ("objective", "theirs"),
    [
        (SFT("trl"), sft),
        (DPO(0.3), dpo("sigmoid", 0.3)),
        (IPO(0.3), dpo("ipo", 0.3)),
        (SimPO(2.0, 0.5), simpo),
        (KTO(0.2, 1.5, 0.75), kto),
    ],
    ids=["sft", "dpo", "ipo", "simpo", "kto"],
)
def test_loss_and_every_gradient_equal_trl(objective: Objective, theirs: Loss, tmp_path: Path) -> None:
    policy, reference = policy_and_reference()
    mirrored = copy.deepcopy(policy)
    rows = learnt(pairs("hh", 128).select(np.arange(COUNT)), objective.rows)
    expected = theirs(mirrored, reference, list(rows), tmp_path)
    expected.backward()
    assert_equal(ours(objective, policy, reference, rows), expected, policy, mirrored)


def assert_equal(found: Tensor, expected: Tensor, policy: PreTrainedModel, mirrored: PreTrainedModel) -> None:
    """The losses, and the gradients that they have left in the models."""
    assert found.item() == pytest.approx(expected.item(), rel=1e-5)
    gradients = {name: p.grad for name, p in mirrored.named_parameters() if p.grad is not None}
    norm = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    assert norm > 0
    for name, parameter in policy.named_parameters():
        assert parameter.grad is not None
        assert (parameter.grad - gradients[name]).norm() <= 1e-4 * norm, name
