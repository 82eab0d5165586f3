"""Scores equal the log-probabilities of each branch run on its own, without padding."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor
from transformers import OPTConfig, OPTForCausalLM, PreTrainedModel

from orpo.data.collate import pad_batch
from orpo.data.pairs import TokenizedPair
from orpo.modeling.scorer import PairScorer
from tests.tiny import tiny_llama

PAIRS = [
    TokenizedPair((1, 5, 6), (7, 8, 9, 2), (10, 2), "a"),
    TokenizedPair((1,), (11, 2), (12, 13, 14, 15, 16, 2), "b"),
]


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


def alone(model: PreTrainedModel, before: tuple[int, ...], scored: tuple[int, ...]) -> Tensor:
    """Sum of log p of `scored` after `before`, by an unpadded forward of one row."""
    ids = torch.tensor([before + scored])
    log_probs = model(input_ids=ids).logits.log_softmax(-1)[0]
    places = range(len(before) - 1, ids.shape[1] - 1)
    return sum((log_probs[i, ids[0, i + 1]] for i in places), torch.zeros((), dtype=log_probs.dtype))


@pytest.mark.parametrize("make", [lambda: tiny_llama(initializer_range=0.3), tiny_opt])
def test_scores_equal_each_branch_run_alone(make: Callable[[], PreTrainedModel]) -> None:
    model = make().double().eval()
    scores = PairScorer(model)(pad_batch(PAIRS, pad_id=0, score_prompt=True))
    for i, pair in enumerate(PAIRS):
        torch.testing.assert_close(scores.chosen[i], alone(model, pair.prompt, pair.chosen))
        torch.testing.assert_close(scores.rejected[i], alone(model, pair.prompt, pair.rejected))
        torch.testing.assert_close(scores.prompt[i], alone(model, pair.prompt[:1], pair.prompt[1:]))
    assert scores.chosen_count.tolist() == [4, 2]
    assert scores.rejected_count.tolist() == [2, 6]
    assert scores.prompt_count.tolist() == [2, 0]


def test_padding_ids_do_not_matter() -> None:
    scorer = PairScorer(tiny_llama(initializer_range=0.3))
    first, second = (scorer(pad_batch(PAIRS, pad_id=pad, score_prompt=True)) for pad in (0, 63))
    assert torch.equal(first.chosen, second.chosen)
    assert torch.equal(first.rejected, second.rejected)


def test_scores_of_a_low_precision_model_are_float32() -> None:
    scores = PairScorer(tiny_llama().bfloat16())(pad_batch(PAIRS, pad_id=0, score_prompt=False))
    assert scores.chosen.dtype == torch.float32
