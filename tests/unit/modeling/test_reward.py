"""Values are those that transformers' own sequence-classification model gives right-padded rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import LlamaForSequenceClassification

from orpo.batch import Layout
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import TokenizedPair
from orpo.errors import ConfigError
from orpo.modeling.engine import build_scorer
from orpo.modeling.kinds import REWARD_MODEL
from orpo.modeling.lora import add_lora
from orpo.modeling.reward import RewardScorer
from orpo.objectives import RewardModel
from orpo.ops.precision import autocast
from tests.loops import random_pairs
from tests.tiny import tiny_llama, tiny_reward_model

PAIRS = [pair for pair in random_pairs(6) if 0 not in (*pair.chosen, *pair.rejected)]
OBJECTIVE = RewardModel(0.25, 0.1)


def by_transformers(model: LlamaForSequenceClassification, texts: Sequence[tuple[int, ...]]) -> Tensor:
    """(N,) values of a right-padded batch."""
    width = max(map(len, texts))
    rows = torch.tensor([[*text, *[0] * (width - len(text))] for text in texts])
    return model(input_ids=rows, attention_mask=rows != 0).logits[:, 0]


def plain(model: LlamaForSequenceClassification, pairs: Sequence[TokenizedPair]) -> Tensor:
    chosen = by_transformers(model, [pair.prompt + pair.chosen for pair in pairs])
    return torch.stack([chosen, by_transformers(model, [pair.prompt + pair.rejected for pair in pairs])])


@pytest.mark.parametrize("layout", Layout)
def test_values_and_gradients_equal_transformers(layout: Layout) -> None:
    model, mirror = tiny_reward_model(), tiny_reward_model()
    scorer = build_scorer(model, layout=layout, max_length=128, kind=REWARD_MODEL)
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=OBJECTIVE.prompt_tokens)
    with scorer.attention():
        scores = scorer(batch)
        OBJECTIVE(scores, batch_totals(PAIRS, OBJECTIVE.prompt_tokens)).loss.backward()
    expected = plain(mirror, PAIRS)
    assert scores.values is not None
    torch.testing.assert_close(scores.values, expected, rtol=1e-5, atol=1e-6)
    totals = batch_totals(PAIRS, OBJECTIVE.prompt_tokens)
    OBJECTIVE(replace(scores, values=expected), totals).loss.backward()
    for (name, found), other in zip(model.named_parameters(), mirror.parameters(), strict=True):
        assert found.grad is not None
        assert other.grad is not None
        assert (found.grad - other.grad).norm() <= 1e-5 * other.grad.norm(), name


def test_the_shared_layout_is_taken_where_it_is_exact() -> None:
    scorer = build_scorer(tiny_reward_model(), layout="auto", max_length=128, kind=REWARD_MODEL)
    assert isinstance(scorer, RewardScorer)
    assert scorer.layout is Layout.SHARED


def test_a_missing_response_changes_nothing() -> None:
    lonely = [replace(PAIRS[0], rejected=()), *PAIRS]
    scorer = build_scorer(tiny_reward_model(), layout="auto", max_length=128, kind=REWARD_MODEL)
    found: list[float] = []
    for pairs in (PAIRS, lonely):
        batch = collate(pairs, scorer.layout, pad_id=0, prompt_tokens=OBJECTIVE.prompt_tokens)
        with scorer.attention():
            found.append(OBJECTIVE(scorer(batch), batch_totals(pairs, OBJECTIVE.prompt_tokens)).loss.item())
    assert found[0] == pytest.approx(found[1])


@pytest.mark.parametrize("lora", [False, True], ids=["whole", "adapters"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_values_are_not_rounded_to_bfloat16(dtype: torch.dtype, lora: bool) -> None:
    """The head's product would leave them 8 bits, so that close values would be equal."""
    model: Any = tiny_reward_model().to(dtype)  # pyright: ignore[reportArgumentType]
    if lora:
        model = add_lora(model, r=2, alpha=4, dropout=0.0, target="all-linear", kind=REWARD_MODEL)
    scorer = build_scorer(model, layout="auto", max_length=128, kind=REWARD_MODEL)
    batch = collate(PAIRS, scorer.layout, pad_id=0, prompt_tokens=OBJECTIVE.prompt_tokens)
    with torch.no_grad(), scorer.attention(), autocast(torch.device("cpu"), torch.bfloat16):
        values = scorer(batch).values
    assert values is not None
    assert values.dtype == torch.float32
    assert not torch.equal(values, values.bfloat16().float())


def test_with_adapters_the_head_is_trained_whole() -> None:
    adapted = add_lora(tiny_reward_model(), r=2, alpha=4, dropout=0.0, target="all-linear", kind=REWARD_MODEL)
    scorer = build_scorer(adapted, layout="auto", max_length=128, kind=REWARD_MODEL)
    batch = collate(PAIRS, scorer.layout, pad_id=0, prompt_tokens=OBJECTIVE.prompt_tokens)
    with scorer.attention():
        OBJECTIVE(scorer(batch), batch_totals(PAIRS, OBJECTIVE.prompt_tokens)).loss.backward()
    trained = {name for name, p in adapted.named_parameters() if p.grad is not None}
    assert any("score" in name for name in trained)
    assert all("lora_" in name or "score" in name for name in trained)


def test_a_model_without_a_value_head_is_refused() -> None:
    with pytest.raises(ConfigError, match="LlamaForCausalLM has no value head named `score`"):
        build_scorer(tiny_llama(), layout="auto", max_length=128, kind=REWARD_MODEL)
