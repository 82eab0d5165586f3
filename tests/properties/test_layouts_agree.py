"""All layouts give the same scores and the same gradient, whatever the lengths of the pairs.

In float64 throughout: norms, which models compute in float32 whatever their type, are replaced.
"""

from __future__ import annotations

import random
from functools import cache, partial
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import Gemma2Config, Gemma2ForCausalLM, PreTrainedModel
from transformers.models.gemma2.modeling_gemma2 import Gemma2RMSNorm
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from orpo.batch import Layout, PromptTokens
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import TokenizedPair
from orpo.modeling.engine import build_scorer
from orpo.modeling.head import FusedHead, ModuleHead
from orpo.modeling.kinds import REWARD_MODEL
from orpo.modeling.lora import add_lora
from orpo.modeling.scorer import PairScorer
from orpo.objectives import ORPO, RewardModel
from tests.tiny import tiny_llama, tiny_reward_model

Lengths = list[tuple[int, int, int]]
"""Tokens of prompt, chosen and rejected response."""

OBJECTIVE = ORPO(0.5, "trl")

TOLERANCE = {"llama": 1e-12, "gemma2": 1e-7}
"""Relative; the plain path of gemma2 has a softmax in float32 left."""


def llama() -> PreTrainedModel:
    return tiny_llama(initializer_range=0.3, hidden=16)


def gemma2() -> PreTrainedModel:
    """Windows, caps of attention scores and of logits, and a tied head."""
    torch.manual_seed(0)
    config = Gemma2Config(
        vocab_size=64,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        max_position_embeddings=128,
        sliding_window=3,
        query_pre_attn_scalar=4,
        attn_logit_softcapping=2.0,
        final_logit_softcapping=3.0,
        initializer_range=0.3,
        pad_token_id=0,
    )
    return Gemma2ForCausalLM(config)


def double_norm(norm: LlamaRMSNorm | Gemma2RMSNorm, hidden_states: Tensor) -> Tensor:
    """What the norm computes, in the type of its input."""
    offset, epsilon = (1, norm.eps) if isinstance(norm, Gemma2RMSNorm) else (0, norm.variance_epsilon)
    scale = torch.rsqrt(hidden_states.square().mean(-1, keepdim=True) + epsilon)
    return hidden_states * scale * (offset + norm.weight)


def in_float64(model: Any) -> Any:
    for module in model.modules():
        if isinstance(module, LlamaRMSNorm | Gemma2RMSNorm):
            module.forward = partial(double_norm, module)  # type: ignore[method-assign]
    return model.double().eval()


@cache
def scorers(name: str) -> list[PairScorer]:
    """Of one float64 model: every layout with the fused head, and padded rows with whole logits."""
    model = in_float64({"llama": llama, "gemma2": gemma2}[name]())
    found = [build_scorer(model, layout=layout, max_length=64) for layout in Layout]
    assert all(isinstance(scorer.head, FusedHead) for scorer in found)
    return [PairScorer(model, layout=Layout.PADDED, head=None), *found]


def adapted_scorers(**kind: Any) -> list[PairScorer]:
    """Of one float64 model with adapters that do something: as `scorers`, with the head that suits it."""
    model = in_float64(add_lora(llama(), **({"r": 2, "alpha": 4, "dropout": 0.0} | kind)))
    torch.manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter += 0.2 * torch.randn_like(parameter)
    return [
        PairScorer(model, layout=Layout.PADDED, head=None),
        *(build_scorer(model, layout=layout, max_length=64) for layout in Layout),
    ]


@cache
def reward_scorers() -> list[PairScorer]:
    """Of one float64 reward model: every layout, and padded rows first."""
    model = in_float64(tiny_reward_model())
    return [
        build_scorer(model, layout=layout, max_length=64, kind=REWARD_MODEL)
        for layout in sorted(Layout, key=lambda layout: layout is not Layout.PADDED)
    ]


def run(scorer: PairScorer, pairs: list[TokenizedPair]) -> tuple[Tensor, dict[str, Tensor]]:
    """(3, B) scores, and the gradient of the loss."""
    scorer.zero_grad()
    batch = collate(pairs, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.ALL)
    with scorer.attention():
        scores = scorer(batch)
        OBJECTIVE(scores, batch_totals(pairs, PromptTokens.ALL)).loss.backward()
    gradients = {name: p.grad for name, p in scorer.named_parameters() if p.grad is not None}
    return torch.stack((scores.chosen, scores.rejected, scores.prompt)).detach(), gradients


def run_reward(scorer: PairScorer, pairs: list[TokenizedPair]) -> tuple[Tensor, dict[str, Tensor]]:
    """(2, B) values, and the gradient of the loss."""
    scorer.zero_grad()
    batch = collate(pairs, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.NONE)
    with scorer.attention():
        scores = scorer(batch)
        RewardModel(0.25, 0.1)(scores, batch_totals(pairs, PromptTokens.NONE)).loss.backward()
    assert scores.values is not None
    gradients = {name: p.grad for name, p in scorer.named_parameters() if p.grad is not None}
    return scores.values.detach(), gradients


def ids_of(rng: random.Random, count: int) -> tuple[int, ...]:
    return tuple(rng.randrange(3, 64) for _ in range(count))


@pytest.mark.parametrize("name", ["llama", "gemma2"])
@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(0, 9)), max_size=5, min_size=1
    ),
    seed=st.integers(0, 99),
    same=st.booleans(),
)
@example(lengths=[(1, 1, 1)], seed=0, same=False).via("nothing but single tokens")
@example(lengths=[(1, 7, 2), (1, 1, 9)], seed=1, same=False).via("prompts of one token")
@example(lengths=[(8, 1, 1), (3, 1, 6)], seed=2, same=False).via("responses of one token")
@example(lengths=[(5, 6, 6), (2, 3, 3)], seed=3, same=True).via("equal responses")
@example(lengths=[(2, 1, 3), (30, 20, 31), (1, 2, 1)], seed=4, same=False).via("a huge pair among small")
@example(lengths=[(4, 5, 0), (6, 3, 4), (1, 8, 0)], seed=5, same=False).via("single responses beside a pair")
@example(lengths=[(4, 5, 0)], seed=6, same=False).via("nothing but a single response")
def test_scores_and_gradients_do_not_depend_on_the_layout(
    name: str, lengths: Lengths, seed: int, same: bool
) -> None:
    ids = partial(ids_of, random.Random(seed))
    pairs: list[TokenizedPair] = []
    for prompt, chosen, rejected in lengths:
        response = ids(chosen)
        pairs.append(TokenizedPair(ids(prompt), response, response if same else ids(rejected), "here"))

    plain, *others = scorers(name)
    scores, gradients = run(plain, pairs)
    scale = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for scorer in others:
        found, found_gradients = run(scorer, pairs)
        torch.testing.assert_close(found, scores, rtol=TOLERANCE[name], atol=0.01 * TOLERANCE[name])
        assert found_gradients.keys() == gradients.keys()
        for parameter, gradient in gradients.items():
            assert (found_gradients[parameter] - gradient).norm() <= 10 * TOLERANCE[name] * scale, parameter


@pytest.mark.parametrize(
    ("kind", "head"),
    [
        ({"target": "all-linear", "rslora": True}, FusedHead),
        ({"target": "all-linear", "dora": True}, FusedHead),
        ({"target": ["q_proj", "lm_head"], "dora": True}, ModuleHead),
        ({"target": "all-linear", "modules_to_save": ["embed_tokens", "lm_head"]}, ModuleHead),
    ],
)
def test_adapters_of_every_kind_are_scored_as_by_the_plain_path(kind: dict[str, Any], head: type) -> None:
    ids = partial(ids_of, random.Random(0))
    lengths = [(7, 5, 3), (1, 2, 9), (12, 1, 4)]
    pairs = [TokenizedPair(ids(x), ids(chosen), ids(other), "here") for x, chosen, other in lengths]
    plain, *others = adapted_scorers(**kind)
    scores, gradients = run(plain, pairs)
    assert all(gradient.norm() > 0 for gradient in gradients.values())
    for scorer in others:
        assert type(scorer.head) is head
        found, found_gradients = run(scorer, pairs)
        torch.testing.assert_close(found, scores, rtol=1e-10, atol=1e-12)
        assert found_gradients.keys() == gradients.keys()
        for name, gradient in gradients.items():
            assert (found_gradients[name] - gradient).norm() <= 1e-9 * gradient.norm(), name


@settings(max_examples=12, deadline=None)
@given(
    lengths=st.lists(
        st.tuples(st.integers(1, 12), st.integers(1, 9), st.integers(1, 9)), max_size=5, min_size=1
    ),
    seed=st.integers(0, 99),
)
@example(lengths=[(1, 1, 1)], seed=0).via("nothing but single tokens")
@example(lengths=[(2, 1, 3), (30, 20, 31), (1, 2, 1)], seed=1).via("a huge pair among small")
def test_a_reward_models_values_and_gradients_do_not_depend_on_the_layout(
    lengths: Lengths, seed: int
) -> None:
    ids = partial(ids_of, random.Random(seed))
    pairs = [
        TokenizedPair(ids(prompt), ids(chosen), ids(rejected), "here", margin=0.5 * i)
        for i, (prompt, chosen, rejected) in enumerate(lengths)
    ]
    (values, gradients), *others = (run_reward(scorer, pairs) for scorer in reward_scorers())
    scale = torch.stack([gradient.norm() for gradient in gradients.values()]).norm()
    for found, found_gradients in others:
        assert found_gradients.keys() == gradients.keys()
        torch.testing.assert_close(found, values, rtol=1e-12, atol=1e-14)
        for parameter, gradient in gradients.items():
            assert (found_gradients[parameter] - gradient).norm() <= 1e-11 * scale, parameter
