"""With `definition: trl`, everything that TRL 1.16's ORPOTrainer computes, from the loss to ten updates.

Both sides are given the same token ids, since TRL adds a BOS token that the tokenizer itself would not; see
docs/peers.md.  TRL runs the whole batch as one micro-batch, because its pooled mean depends on the split.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import pytest
import torch
from benchmarks.cpu.trl_peer import trl_row, trl_trainer
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from orpo.batch import Layout, PromptTokens, Totals
from orpo.config.schema import TrainingSection
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import Pair, RowCounts, TokenizedPair
from orpo.data.shards import tokenize_examples
from orpo.data.templates import Template
from orpo.data.tokenized import TokenizedPairs
from orpo.data.tokens import PairTokenizer
from orpo.modeling.engine import build_scorer
from orpo.objectives import ORPO
from orpo.training.batches import Batches
from orpo.training.loop import TrainingLoop
from tests.loops import ALONE
from tests.objectives import means
from tests.paths import SHARED, needs_shared
from tests.tiny import tiny_llama

if TYPE_CHECKING:
    from trl.experimental.orpo import ORPOTrainer

pytestmark = needs_shared

LAMBDA = 0.1
MAX_LENGTH = 512
MAX_LENGTH_OF_UPDATES = 256
"""Ten steps on both sides take minutes with longer pairs, and the claim does not depend on their length."""
STEPS = 10


@cache
def tokenizer() -> PreTrainedTokenizerBase:
    return AutoTokenizer.from_pretrained(SHARED / "models/stories260k")


@cache
def pairs(source: str, max_length: int) -> TokenizedPairs:
    """64 pairs of HH or 32 of AlpacaEval, of at most `max_length` tokens in either branch."""
    wanted, texts = {"hh": (64, _hh), "alpaca": (32, _alpaca)}[source]
    pair_tokenizer = PairTokenizer(
        tokenizer(), Template("none", None), max_length=max_length, truncation="drop"
    )
    tokenized = tokenize_examples(texts(), pair_tokenizer, RowCounts())
    assert len(tokenized) >= wanted
    return tokenized.select(range(wanted))


def _hh() -> list[Pair]:
    marker = "\n\nAssistant:"
    found: list[Pair] = []
    with (SHARED / "data/hh_rlhf_harmless/train.jsonl").open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row = json.loads(line)
            (prompt, chosen), (other, rejected) = (
                row[side].rsplit(marker, 1) for side in ("chosen", "rejected")
            )
            if prompt == other and chosen.strip() and rejected.strip():
                found.append(Pair(prompt + marker, chosen, rejected, f"train.jsonl:{number}"))
            if len(found) == 1700:
                break
    return found


def _alpaca() -> list[Pair]:
    found: list[Pair] = []
    with (SHARED / "data/alpaca_eval/train.jsonl").open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            row = json.loads(line)
            outputs = (row["output_1"], row["output_2"])
            chosen, rejected = outputs if row["preference"] < 1.5 else outputs[::-1]
            found.append(Pair(row["instruction"] + "\n\n", chosen, rejected, f"train.jsonl:{number}"))
            if len(found) == 2000:
                break
    return found


def random_llama() -> PreTrainedModel:
    return tiny_llama(vocab_size=512, layers=4, hidden=64, positions=1024, seed=7)


def stories() -> PreTrainedModel:
    return AutoModelForCausalLM.from_pretrained(SHARED / "models/stories260k", dtype=torch.float32)


MODELS: dict[str, Callable[[], PreTrainedModel]] = {"random-llama": random_llama, "stories260k": stories}
CASES = [(model, source) for model in MODELS for source in ("hh", "alpaca")]


def trainer_of(
    model: PreTrainedModel, batch: Sequence[TokenizedPair], out: str, learning_rate: float
) -> ORPOTrainer:
    return trl_trainer(
        model,
        batch,
        tokenizer(),
        out,
        beta=LAMBDA,
        max_length=MAX_LENGTH,
        per_device_train_batch_size=len(batch),
        max_steps=STEPS,
        learning_rate=learning_rate,
        lr_scheduler_type="cosine",
        warmup_steps=2,
        weight_decay=0.1,
        adam_epsilon=1e-8,
        max_grad_norm=1.0,
        bf16=False,
        use_cpu=True,
        logging_steps=1,
        dataloader_pin_memory=False,
    )


def change(before: dict[str, Tensor], after: PreTrainedModel) -> dict[str, Tensor]:
    return {name: p.detach() - before[name] for name, p in after.named_parameters()}


@pytest.mark.parametrize(("model_name", "source"), CASES)
def test_loss_metrics_and_every_gradient_equal_trl(
    model_name: str, source: str, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = MODELS[model_name]()
    theirs = copy.deepcopy(ours)
    batch = list(pairs(source, MAX_LENGTH))
    trainer = trainer_of(theirs, batch, str(tmp_path), 1e-3)
    inputs = trainer.data_collator([trl_row(pair) for pair in batch])
    loss, expected = trainer.get_batch_loss_metrics(theirs, inputs)
    loss.backward()

    scorer = build_scorer(ours, layout="auto", max_length=MAX_LENGTH)
    assert scorer.layout is Layout.SHARED
    micro_batch = collate(batch, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.ALL)
    totals: Totals = batch_totals(batch, PromptTokens.ALL)
    with scorer.attention():
        output = ORPO(LAMBDA, "trl")(scorer(micro_batch), totals)
        output.loss.backward()

    assert output.loss.item() == pytest.approx(loss.item(), rel=1e-5, abs=1e-6)
    compared = [name for name in expected if not name.startswith("logits/")]
    metrics = means(output)
    assert {"nll_loss", "log_odds_chosen", "log_odds_ratio", "rewards/chosen"} <= set(compared)
    for name in compared:
        assert metrics[name].item() == pytest.approx(expected[name], rel=1e-5, abs=1e-6), name

    gradients = {name: p.grad for name, p in theirs.named_parameters() if p.grad is not None}
    global_norm = torch.stack([g.norm() for g in gradients.values()]).norm()
    worst = 0.0
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None
        error = (parameter.grad - gradients[name]).norm()
        allowed = torch.maximum(gradients[name].norm(), 1e-3 * global_norm)
        worst = max(worst, (error / allowed).item())
        assert error <= 1e-5 * allowed, name
    with capsys.disabled():
        print(f"\n{model_name} {source}: worst gradient difference {worst:.1e}", end=" ")


@pytest.mark.parametrize("learning_rate", [1e-3, 8e-6])
@pytest.mark.parametrize(("model_name", "source"), CASES)
def test_ten_updates_equal_trl(
    model_name: str, source: str, learning_rate: float, tmp_path: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = MODELS[model_name]()
    theirs = copy.deepcopy(ours)
    start = {name: p.detach().clone() for name, p in ours.named_parameters()}
    batch = pairs(source, MAX_LENGTH_OF_UPDATES)
    trainer_of(theirs, list(batch), str(tmp_path), learning_rate).train()

    settings = TrainingSection(
        batch_size=len(batch),
        max_steps=STEPS,
        learning_rate=learning_rate,
        warmup=2,
        weight_decay=0.1,
        shuffle=False,
    )
    scorer, objective = build_scorer(ours, layout="auto", max_length=MAX_LENGTH), ORPO(LAMBDA, "trl")
    TrainingLoop(
        scorer=scorer,
        tokenizer=tokenizer(),
        objective=objective,
        batches=Batches.of(
            batch,
            settings,
            objective,
            layout=scorer.layout,
            pad_id=0,
            max_length=MAX_LENGTH,
            world=ALONE,
        ),
        settings=settings,
        max_tokens=8192,
        world=ALONE,
    ).run()

    expected = change(start, theirs)
    worst = 0.0
    for name, delta in change(start, ours).items():
        relative = ((delta - expected[name]).norm() / expected[name].norm()).item()
        worst = max(worst, relative)
        assert relative <= 1e-3, name
    with capsys.disabled():
        print(f"\n{model_name} {source} lr {learning_rate:g}: worst change difference {worst:.1e}", end=" ")
