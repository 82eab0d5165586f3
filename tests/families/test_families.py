"""The engine computes what the plain path computes: over families of models, and over ways of training them.

The plain path is padded rows, the model's own attention and whole logits.  Where packed rows would not be
exact, the engine says why and uses padded rows itself.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from peft import PeftModel
from torch import Tensor
from transformers import PreTrainedModel

from orpo.batch import Layout, PromptTokens, Scores
from orpo.data.collate import batch_totals, collate
from orpo.data.pairs import TokenizedPair
from orpo.errors import ConfigError
from orpo.modeling import scorer as scorer_module
from orpo.modeling.checkpointing import checkpoint_activations
from orpo.modeling.engine import build_scorer
from orpo.modeling.head import FusedHead
from orpo.modeling.kinds import LANGUAGE_MODEL
from orpo.modeling.lora import add_lora
from orpo.modeling.noise import silence
from orpo.modeling.scorer import PairScorer
from orpo.objectives import ORPO
from tests.families import zoo

OBJECTIVE = ORPO(0.5, "trl")
MAX_LENGTH = 32

Model = PreTrainedModel | PeftModel
Result = tuple[Tensor, dict[str, Tensor]]
"""The loss, and the gradient of every parameter that has one."""

HANDFUL = ("llama", "gemma2", "qwen3", "gpt_oss", "mistral", "gpt_neox")


def random_pairs(lengths: Sequence[tuple[int, int, int]], seed: int = 0) -> list[TokenizedPair]:
    """Pairs of random tokens: of prompt, chosen and rejected response as many as given."""
    rng = random.Random(seed)

    def ids(count: int) -> tuple[int, ...]:
        return tuple(rng.randrange(3, zoo.VOCABULARY) for _ in range(count))

    return [TokenizedPair(ids(p), ids(chosen), ids(rejected), "here") for p, chosen, rejected in lengths]


PAIRS = random_pairs([(9, 6, 11), (1, 1, 3), (14, 2, 1), (3, 12, 5)])
"""Longer than every window of the zoo, with a prompt and responses of a single token among them."""


def run(scorer: PairScorer, pairs: Sequence[TokenizedPair] = PAIRS, **autocast: Any) -> Result:
    """Forward and backward pass over all pairs at once."""
    scorer.zero_grad()
    batch = collate(pairs, scorer.layout, pad_id=0, prompt_tokens=PromptTokens.ALL)
    with scorer.attention():
        with torch.autocast("cpu", torch.bfloat16, enabled=bool(autocast)):
            scores = scorer(batch)
        loss = OBJECTIVE(scores, batch_totals(pairs, PromptTokens.ALL)).loss
        loss.backward()
    gradients = {n: p.grad.clone() for n, p in scorer.model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


def run_plain(model: Model, pairs: Sequence[TokenizedPair] = PAIRS, **autocast: Any) -> Result:
    """Padded rows, the model's own attention and whole logits; and autograd keeps what it keeps."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer_module, "recompute_cheap_results", nullcontext)
        return run(PairScorer(model, layout=Layout.PADDED, head=None), pairs, **autocast)


def assert_equal(found: Result, expected: Result) -> None:
    """The loss to 1e-6, and every gradient to the bound of tests/peers/test_trl.py."""
    torch.testing.assert_close(found[0], expected[0], rtol=1e-6, atol=1e-7)
    assert found[1].keys() == expected[1].keys()
    global_norm = norm(expected[1].values())
    for name, gradient in expected[1].items():
        error = (found[1][name] - gradient).norm()
        # The bias of keys adds the same to all scores of a query: its gradient is 0 and some rounding.
        floor = 1e-2 if name.endswith("k_proj.bias") else 1e-3
        assert error <= 1e-5 * torch.maximum(gradient.norm(), floor * global_norm), name


def norm(tensors: Any) -> Tensor:
    return torch.stack([tensor.norm() for tensor in tensors]).norm()


@pytest.mark.parametrize("name", zoo.SHARED)
def test_shared_prompts_and_a_fused_head_equal_the_plain_path(name: str) -> None:
    model = zoo.SHARED[name].build()
    scorer = build_scorer(model, layout="auto", max_length=MAX_LENGTH)
    assert scorer.layout is Layout.SHARED
    assert isinstance(scorer.head, FusedHead) == (name not in zoo.WHOLE_LOGITS)
    assert_equal(run(scorer), run_plain(model))


def with_adapters(model: PreTrainedModel) -> PeftModel:
    """LoRA on all linear layers, past its first step."""
    adapted = add_lora(model, r=2, alpha=4, dropout=0.0, target="all-linear")
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.3)
    return adapted


OTHERS = sorted(zoo.SHARED.keys() - set(HANDFUL) - zoo.WITHOUT_CHECKPOINTING - zoo.RANDOM)

CHECKPOINTING: dict[str, dict[str, bool] | None] = {
    "": None,
    "checkpointing": {},
    "selective checkpointing": {"selective": True},
}


def assert_trains_like_the_plain_path(
    base: PreTrainedModel, model: Model, checkpointing: dict[str, bool] | None, layout: Layout
) -> None:
    """In training mode; the plain path is without checkpointing."""
    silence(base, LANGUAGE_MODEL.outputs)
    model.train()
    expected = run_plain(model)
    if checkpointing is not None:
        checkpoint_activations(base, **checkpointing)
    assert_equal(run(build_scorer(model, layout=layout, max_length=MAX_LENGTH)), expected)


@pytest.mark.parametrize("layout", [Layout.SHARED, Layout.PACKED])
@pytest.mark.parametrize("lora", [False, True], ids=["whole model", "adapters"])
@pytest.mark.parametrize("checkpointing", CHECKPOINTING)
@pytest.mark.parametrize("name", HANDFUL)
def test_so_they_do_with_checkpointing_and_adapters_and_in_the_packed_layout(
    name: str, checkpointing: str, lora: bool, layout: Layout
) -> None:
    base = zoo.SHARED[name].build()
    model = with_adapters(base) if lora else base
    assert_trains_like_the_plain_path(base, model, CHECKPOINTING[checkpointing], layout)


@pytest.mark.parametrize("lora", [False, True], ids=["whole model", "adapters"])
@pytest.mark.parametrize("name", OTHERS)
def test_so_does_every_family_with_checkpointing(name: str, lora: bool) -> None:
    base = zoo.SHARED[name].build()
    model = with_adapters(base) if lora else base
    assert_trains_like_the_plain_path(base, model, CHECKPOINTING["checkpointing"], Layout.SHARED)


@pytest.mark.parametrize("name", ["olmo", "gemma3n"])
def test_selective_checkpointing_is_refused_where_a_layer_writes_over_a_product(name: str) -> None:
    """Computed again from what is there now, gradients would be wrong; the loss would fall all the same."""
    base = zoo.SHARED[name].build()
    with pytest.raises(ConfigError, match=f"selective .* a layer of {type(base).__name__} writes over one"):
        checkpoint_activations(base, selective=True)
    assert not base.training


@pytest.mark.parametrize("mixed", [False, True], ids=["bf16 weights", "autocast"])
@pytest.mark.parametrize("name", ["llama", "gemma2", "gpt2", "cohere", "phi"])
def test_bfloat16_is_as_near_to_the_exact_result_as_in_the_plain_path(name: str, mixed: bool) -> None:
    """Root mean squares over batches, since a single loss can be right by chance."""
    exact: Any = zoo.SHARED[name].build()
    model: Any = zoo.SHARED[name].build()
    if not mixed:
        model.bfloat16()
        exact.load_state_dict(model.state_dict())
    exact.double()
    ours = build_scorer(model, layout="auto", max_length=MAX_LENGTH)
    assert ours.layout is Layout.SHARED
    options = {"autocast": True} if mixed else {}
    squares = torch.zeros(2, 2)
    for seed in range(32):
        pairs = random_pairs([(9, 6, 11), (2, 4, 3), (12, 7, 5)], seed)
        loss, gradients = run_plain(exact, pairs)
        results = (run(ours, pairs, **options), run_plain(model, pairs, **options))
        for row, (found_loss, found) in zip(squares, results, strict=True):
            assert found_loss.dtype == torch.float32
            row[0] += (found_loss - loss).square()
            row[1] += norm(found[n].double() - g for n, g in gradients.items()).square()
    (loss_error, gradient_error), (plain_loss_error, plain_gradient_error) = squares.sqrt().tolist()
    assert gradient_error <= 1.5 * plain_gradient_error
    assert loss_error <= 1.5 * plain_loss_error


# Families for which packed rows are not exact


def one_by_one(model: PreTrainedModel, pairs: Sequence[TokenizedPair]) -> Result:
    """Every branch run on its own, without padding."""
    model.zero_grad()

    def score(before: tuple[int, ...], scored: tuple[int, ...]) -> Tensor:
        ids = torch.tensor([before + scored])
        log_probs = model(input_ids=ids, use_cache=False).logits[0].log_softmax(-1)
        places = torch.arange(len(before) - 1, ids.shape[1] - 1)
        return log_probs[places, ids[0, places + 1]].sum()

    batch = collate(pairs, Layout.PADDED, pad_id=0, prompt_tokens=PromptTokens.ALL)
    chosen_count, rejected_count, prompt_count = batch.counts
    chosen, rejected, prompt = (
        torch.stack([score(*parts) for parts in segments])
        for segments in (
            [(p.prompt, p.chosen) for p in pairs],
            [(p.prompt, p.rejected) for p in pairs],
            [(p.prompt[:1], p.prompt[1:]) for p in pairs],
        )
    )
    counts = (chosen_count, rejected_count, prompt_count)
    scores = Scores(chosen, rejected, prompt, *counts, batch.weight, batch.margin)
    loss = OBJECTIVE(scores, batch_totals(pairs, PromptTokens.ALL)).loss
    loss.backward()
    gradients = {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    return loss.detach(), gradients


def assert_falls_back(model: PreTrainedModel, reason: str, caplog: pytest.LogCaptureFixture) -> PairScorer:
    with caplog.at_level(logging.INFO, logger="orpo"):
        scorer = build_scorer(model, layout="auto", max_length=MAX_LENGTH)
    assert scorer.layout is Layout.PADDED
    said = [m for m in caplog.messages if "is not exact for" in m and reason in m]
    assert said
    assert all("\n" not in message for message in caplog.messages)
    for layout in (Layout.SHARED, Layout.PACKED):
        with pytest.raises(ConfigError, match=f"{layout} is not exact for {type(model).__name__}") as caught:
            build_scorer(model, layout=layout, max_length=MAX_LENGTH)
        assert reason in caught.value.message
    return scorer


@pytest.mark.parametrize("name", zoo.PADDED)
def test_where_packed_rows_are_not_exact_it_says_why_and_is_right(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    family, reason = zoo.PADDED[name]
    model = family.build()
    scorer = assert_falls_back(model, reason, caplog)
    assert_equal(run(scorer), one_by_one(model, PAIRS))


@pytest.mark.parametrize("name", zoo.LENGTH_DEPENDENT)
def test_positions_that_depend_on_the_longest_text_are_left_to_the_model(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Such a model gives a text other scores beside a longer one, so these branches are of one length."""
    family, reason = zoo.LENGTH_DEPENDENT[name]
    model = family.build()
    scorer = assert_falls_back(model, reason, caplog)
    pairs = random_pairs([(10, 10, 10), (5, 15, 15), (19, 1, 1)])
    found = run(scorer, pairs)
    model = family.build()  # dynamic positions remember the longest text
    assert_equal(found, run_plain(model, pairs))


@pytest.mark.parametrize("name", zoo.LENGTH_DEPENDENT)
def test_below_their_limit_such_positions_are_exact(name: str) -> None:
    model = zoo.LENGTH_DEPENDENT[name][0].build()
    scorer = build_scorer(model, layout="auto", max_length=16)
    assert scorer.layout is Layout.SHARED
    pairs = random_pairs([(11, 5, 2), (1, 15, 4)])
    assert_equal(run(scorer, pairs), run_plain(model, pairs))
