"""Our attention function is used inside its context and nowhere else."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import BloomConfig, BloomForCausalLM

from orpo.batch import Block, Layout, PackedAttention, PromptTokens
from orpo.data.collate import collate
from orpo.data.pairs import TokenizedPair
from orpo.modeling.attention import KEYWORD, NAME, attend, attention_of
from orpo.modeling.engine import build_scorer
from orpo.modeling.lora import add_lora
from tests.tiny import tiny_llama

IDS = torch.tensor([[5, 6, 7, 8]])
PAIR = TokenizedPair((1, 5, 6), (7, 8, 9, 2), (10, 2), "a")
PACKED = (Layout.SHARED, Layout.PACKED)


def test_a_model_takes_it_and_gets_its_own_back() -> None:
    model = tiny_llama()
    for own in ("eager", "sdpa"):
        model.set_attn_implementation(own)
        with attention_of(model, NAME) as taken:
            assert taken
            assert model.config._attn_implementation == NAME
        assert model.config._attn_implementation == own


def test_its_own_comes_back_after_an_exception_too() -> None:
    model = tiny_llama()
    own = model.config._attn_implementation
    expected = model(input_ids=IDS).logits
    with pytest.raises(ZeroDivisionError), attention_of(model, NAME):
        raise ZeroDivisionError
    assert model.config._attn_implementation == own
    assert torch.equal(model(input_ids=IDS).logits, expected)


def test_a_family_that_does_not_take_it_says_so() -> None:
    model = BloomForCausalLM(BloomConfig(vocab_size=64, hidden_size=16, n_layer=1, n_head=2))
    with attention_of(model, NAME) as taken:
        assert not taken


@pytest.mark.parametrize("layout", PACKED)
@pytest.mark.parametrize("lora", [False, True], ids=["whole model", "adapters"])
def test_generation_after_a_packed_training_step_is_that_of_an_untouched_model(
    layout: Layout, lora: bool
) -> None:
    model = tiny_llama(initializer_range=0.3)
    untouched = copy.deepcopy(model).eval()
    trained = add_lora(model, r=2, alpha=4, dropout=0.0, target="all-linear") if lora else model
    scorer = build_scorer(trained, layout=layout, max_length=16)
    trained.train()
    with scorer.attention():
        scores = scorer(collate([PAIR], layout, pad_id=0, prompt_tokens=PromptTokens.ALL))
        (scores.chosen - scores.rejected).sum().backward()
    trained.eval()
    found, expected = (
        m.generate(input_ids=IDS, max_new_tokens=12, do_sample=False, pad_token_id=0)  # type: ignore[operator]
        for m in (trained, untouched)
    )
    assert torch.equal(found, expected)


def test_without_a_packed_row_it_refuses_to_guess() -> None:
    with (
        attention_of(model := tiny_llama(), NAME),
        pytest.raises(RuntimeError, match="LlamaAttention: packed attention was called without a packed row"),
    ):
        model(input_ids=IDS)


def test_dropout_is_refused() -> None:
    model = tiny_llama().train()
    model.get_submodule("model.layers.1.self_attn").attention_dropout = 0.25  # type: ignore[assignment]
    row = PackedAttention.of([Block(0, 4)])
    with (
        attention_of(model, NAME),
        pytest.raises(RuntimeError, match=r"LlamaAttention: attention dropout of 0\.25 is not supported"),
    ):
        model(input_ids=IDS, position_ids=row.position_ids, use_cache=False, **{KEYWORD: row})


def test_the_result_is_laid_out_as_torchs_own() -> None:
    """Some models view it as (1, T, heads * size), which only contiguous memory allows."""
    query = torch.randn(1, 4, 6, 8)
    output, weights = attend(
        tiny_llama(), query, query, query, None, orpo_attention=PackedAttention.of([Block(0, 6)])
    )
    assert output.shape == (1, 6, 4, 8)
    assert output.is_contiguous()
    assert weights is None


@pytest.mark.parametrize("scaling", [None, 0.1])
def test_without_a_scale_it_is_that_of_the_head_size(scaling: float | None) -> None:
    query, key, value = torch.randn(3, 1, 2, 5, 8, dtype=torch.float64)
    row = PackedAttention.of([Block(0, 5)])
    found, _ = attend(tiny_llama(), query, key, value, None, scaling=scaling, orpo_attention=row)
    scores = (query @ key.mT) * (8**-0.5 if scaling is None else scaling)
    hidden = torch.ones(5, 5, dtype=torch.bool).triu(1)
    expected = scores.masked_fill(hidden, -torch.inf).softmax(-1) @ value
    torch.testing.assert_close(found, expected.transpose(1, 2))
