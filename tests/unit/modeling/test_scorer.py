"""In every layout scores equal the sums of each branch run on its own, without padding."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel

from orpo.batch import Layout, MicroBatch, PromptTokens, Scores
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.modeling import scorer as scorer_module
from orpo.modeling.engine import build_scorer
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.ops.memory import memory_meter
from tests.tiny import tiny_llama

PAIRS = [
    TokenizedPair((1, 5, 6), (7, 8, 9, 2), (10, 2), "a"),
    TokenizedPair((1,), (11, 2), (12, 13, 14, 15, 16, 2), "b"),
]

every_layout = pytest.mark.parametrize("layout", Layout)


def tiny_opt() -> OPTForCausalLM:
    """Learned positions, which some models derive from the attention mask."""
    torch.manual_seed(0)
    config = OPTConfig(
        vocab_size=64,
        hidden_size=32,
        ffn_dim=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=64,
        word_embed_proj_dim=32,
        dropout=0.0,
        init_std=0.3,
    )
    return OPTForCausalLM(config)


def micro_batch(layout: Layout, *, pad_id: int = 0, which: PromptTokens = PromptTokens.ALL) -> MicroBatch:
    return collate(PAIRS, layout, pad_id=pad_id, prompt_tokens=which)


def score(scorer: PairScorer, batch: MicroBatch) -> Scores:
    with scorer.attention():
        return scorer(batch)


def alone(model: PreTrainedModel, before: tuple[int, ...], scored: tuple[int, ...]) -> Tensor:
    """Sum of log p of `scored` after `before`, by an unpadded forward of one row."""
    ids = torch.tensor([before + scored])
    log_probs = model(input_ids=ids).logits.log_softmax(-1)[0]
    places = range(len(before) - 1, ids.shape[1] - 1)
    return sum((log_probs[i, ids[0, i + 1]] for i in places), torch.zeros((), dtype=log_probs.dtype))


@every_layout
@pytest.mark.parametrize("fused", [False, True], ids=["whole logits", "fused"])
@pytest.mark.parametrize("make", [lambda: tiny_llama(initializer_range=0.3), tiny_opt], ids=["llama", "opt"])
def test_scores_equal_each_branch_run_alone(
    make: Callable[[], PreTrainedModel], fused: bool, layout: Layout
) -> None:
    model = make().double().eval()
    head = build_scorer(model, layout=layout, max_length=16).head if fused else None
    assert (head is not None) == fused
    scores = score(PairScorer(model, layout=layout, head=head), micro_batch(layout))
    for i, pair in enumerate(PAIRS):
        torch.testing.assert_close(scores.chosen[i], alone(model, pair.prompt, pair.chosen))
        torch.testing.assert_close(scores.rejected[i], alone(model, pair.prompt, pair.rejected))
        torch.testing.assert_close(scores.prompt[i], alone(model, pair.prompt[:1], pair.prompt[1:]))
    assert scores.chosen_count.tolist() == [4, 2]
    assert scores.rejected_count.tolist() == [2, 6]
    assert scores.prompt_count.tolist() == [2, 0]


def test_padding_ids_do_not_matter() -> None:
    scorer = PairScorer(tiny_llama(initializer_range=0.3), layout=Layout.PADDED, head=None)
    first, second = (score(scorer, micro_batch(Layout.PADDED, pad_id=pad)) for pad in (0, 63))
    assert torch.equal(first.chosen, second.chosen)
    assert torch.equal(first.rejected, second.rejected)


@every_layout
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_scores_are_float32_at_least(layout: Layout, dtype: torch.dtype) -> None:
    model: Any = tiny_llama()
    scorer = build_scorer(model.to(dtype), layout=layout, max_length=16)
    scores = score(scorer, micro_batch(layout, which=PromptTokens.NONE))
    wide = torch.promote_types(dtype, torch.float32)
    assert scores.chosen.dtype == scores.chosen_count.dtype == scores.weight.dtype == wide


@every_layout
def test_adapters_take_part(layout: Layout) -> None:
    model = add_lora(
        tiny_llama(initializer_range=0.3).double(), r=2, alpha=4, dropout=0.0, target="all-linear"
    )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_()
    scores = score(build_scorer(model, layout=layout, max_length=16), micro_batch(layout))
    merged: PreTrainedModel = model.merge_and_unload()  # type: ignore[assignment]
    torch.testing.assert_close(scores.chosen[0], alone(merged, PAIRS[0].prompt, PAIRS[0].chosen))
    torch.testing.assert_close(scores.rejected[1], alone(merged, PAIRS[1].prompt, PAIRS[1].rejected))


@every_layout
def test_results_that_are_cheap_to_have_again_are_not_kept(
    layout: Layout, monkeypatch: pytest.MonkeyPatch
) -> None:
    scorer = build_scorer(tiny_llama(layers=8), layout=layout, max_length=16)

    def kept() -> int:
        """Bytes at most in the forward pass, at whose end most is kept."""
        return memory_meter(torch.device("cpu"))(lambda: score(scorer, batch))

    batch = micro_batch(layout)
    lean = kept()
    monkeypatch.setattr(scorer_module, "recompute_cheap_results", nullcontext)
    assert lean < 0.85 * kept()


@every_layout
def test_the_weight_of_a_stand_in_reaches_the_scores(layout: Layout) -> None:
    batch = collate(PAIRS, layout, pad_id=0, prompt_tokens=PromptTokens.NONE, weight=0.0)
    assert score(build_scorer(tiny_llama(), layout=layout, max_length=16), batch).weight.tolist() == [0, 0]
