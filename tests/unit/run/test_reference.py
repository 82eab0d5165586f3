"""Scores under the reference are those of a frozen copy, computed once and kept."""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from peft import PeftModel
from transformers import LlamaForCausalLM

from orpo.batch import Rows
from orpo.data.pairs import TokenizedPair
from orpo.data.usable import learnt
from orpo.modeling.engine import build_scorer
from orpo.modeling.lora import add_lora
from orpo.objectives import KTO
from orpo.run import reference as module
from orpo.run.reference import Reference, with_reference
from orpo.training.budget import TokenBudget
from tests.loops import ALONE, make_loop, random_pairs, tokenized
from tests.tiny import tiny_llama

PAIRS = random_pairs(9, mixed=True)


def reference(model: LlamaForCausalLM | PeftModel, folder: Path | None = None) -> Reference:
    scorer = build_scorer(model, layout="auto", max_length=128)
    return Reference(scorer, 0, TokenBudget(150, "given", ALONE), ALONE, None, folder)


@torch.no_grad()
def by_frozen_copy(model: LlamaForCausalLM, pairs: Sequence[TokenizedPair]) -> list[list[float]]:
    """Each response scored alone, from the logits of the model."""

    def score(prompt: tuple[int, ...], response: tuple[int, ...]) -> float:
        if not response:
            return 0.0
        ids = torch.tensor([prompt + response])
        log_probs = model(input_ids=ids).logits[0].log_softmax(-1)
        places = range(len(prompt) - 1, ids.shape[1] - 1)
        return sum(log_probs[place, ids[0, place + 1]].item() for place in places)

    return [[score(p.prompt, p.chosen), score(p.prompt, p.rejected)] for p in pairs]


def test_scores_are_those_of_a_live_frozen_copy() -> None:
    model = tiny_llama(initializer_range=0.2)
    frozen = copy.deepcopy(model)
    np.testing.assert_allclose(reference(model).score(PAIRS), by_frozen_copy(frozen, list(PAIRS)), rtol=1e-5)


@pytest.mark.parametrize(
    "kind", [{}, {"dora": True}, {"rslora": True}, {"modules_to_save": ["lm_head", "embed_tokens"]}]
)
def test_with_adapters_the_reference_is_the_model_without_them(kind: dict[str, Any]) -> None:
    model = tiny_llama(initializer_range=0.2)
    frozen = copy.deepcopy(model)
    adapted = add_lora(model, r=2, alpha=4, dropout=0.0, target="all-linear", **kind)
    with torch.no_grad():
        for parameter in adapted.parameters():
            if parameter.requires_grad:
                parameter.normal_()
    found = reference(adapted).score(PAIRS)
    np.testing.assert_allclose(found, by_frozen_copy(frozen, list(PAIRS)), rtol=1e-5)


def test_known_scores_are_read_and_not_computed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    first = reference(tiny_llama(), tmp_path).score(PAIRS)
    monkeypatch.setattr(module, "score_responses", None)
    with caplog.at_level(logging.INFO, logger="orpo"):
        again = reference(tiny_llama(), tmp_path).score(PAIRS)
    assert np.array_equal(first, again)
    assert "read from" in caplog.text
    assert [file.suffix for file in tmp_path.iterdir()] == [".safetensors"]


def test_other_weights_types_or_tokens_are_other_scores(tmp_path: Path) -> None:
    base = reference(tiny_llama(), tmp_path)
    base.score(PAIRS)
    moved = tiny_llama()
    with torch.no_grad():
        next(moved.parameters())[0, 0] += 1e-3
    reference(moved, tmp_path).score(PAIRS)
    half = Reference(base.scorer, 0, base.budget, ALONE, torch.bfloat16, tmp_path)
    half.score(PAIRS)
    base.score(PAIRS.select(range(8)))
    first, *rest = PAIRS
    shifted = TokenizedPair(first.prompt[:-1], (first.prompt[-1], *first.chosen), (), "shifted")
    base.score(tokenized([shifted, *rest]))
    assert len(list(tmp_path.iterdir())) == 5


def test_a_damaged_file_is_replaced(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    first = reference(tiny_llama(), tmp_path).score(PAIRS)
    (file,) = tmp_path.iterdir()
    file.write_bytes(file.read_bytes()[:20])
    assert np.array_equal(reference(tiny_llama(), tmp_path).score(PAIRS), first)
    assert "unusable" in caplog.text


def test_a_divergence_is_that_of_mismatched_responses_from_policy_to_reference() -> None:
    """Over all steps of two epochs, whose batches differ."""
    model = tiny_llama(initializer_range=0.2)
    frozen = copy.deepcopy(model)
    responses = learnt(PAIRS, Rows.RESPONSES)
    loop = make_loop(model=model, pairs=responses, objective=KTO(), batch_size=4)
    scored = with_reference(loop._batches, PAIRS, KTO(), reference(model), steps=5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.02)
    for epoch, number in [(0, 0), (0, 2), (1, 0)]:
        batch = next(islice(scored.batches.epoch(epoch), number, None))
        responded = [pair.chosen or pair.rejected for pair in batch.pairs]
        rows = [
            TokenizedPair(pair.prompt, other, (), "row")
            for pair, other in zip(batch.pairs, responded[-1:] + responded[:-1], strict=True)
        ]
        difference = np.subtract(by_frozen_copy(model, rows), by_frozen_copy(frozen, rows))[:, 0].mean()
        assert batch.mismatch is not None
        found = loop._gradient_step.divergence(
            scored.batches.micro_batches(batch.mismatch.pairs, 100), batch.mismatch
        )
        assert found.item() == pytest.approx(max(0.0, difference), rel=1e-3, abs=1e-4)
    assert scored.eval_mismatch is not None
    assert len(scored.eval_mismatch.pairs) == len(responses)
