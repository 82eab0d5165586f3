"""Generation is what a step-by-step loop over whole sequences gives, whatever stands beside a prompt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
import torch
from transformers import PreTrainedModel

from orpo.errors import ResourceError
from orpo.evaluation.generation import Decoding, Generated, generate, generate_batches
from orpo.modeling.lora import add_lora
from tests.tiny import tiny_llama
from tests.unit.modeling.test_scorer import tiny_opt

PROMPTS = [[5], [9, 8, 7, 6, 5, 4, 3, 2, 11, 12], [20, 21, 22], [1, 30, 31, 32, 33]]
NEVER = [10**6]


def llama() -> PreTrainedModel:
    return tiny_llama(initializer_range=0.3).eval()


def opt() -> PreTrainedModel:
    """Learned positions: padding on the left would shift them if it were not accounted for."""
    return tiny_opt().eval()


def greedy(model: PreTrainedModel, prompt: list[int], count: int) -> list[int]:
    """The likeliest next token, again and again, each from a forward of the whole sequence."""
    ids = list(prompt)
    for _ in range(count):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids]), use_cache=False).logits[0, -1].argmax()))
    return ids[len(prompt) :]


def continuations(model: PreTrainedModel, **settings: Any) -> list[list[int]]:
    return generate(model, PROMPTS, **({"max_new_tokens": 8, "stop_ids": NEVER, "pad_id": 0} | settings))


@pytest.mark.parametrize("make", [llama, opt])
@pytest.mark.parametrize("batch_size", [1, 3, 64])
def test_the_likeliest_tokens_are_taken_whatever_stands_beside_a_prompt(
    make: Callable[[], PreTrainedModel], batch_size: int
) -> None:
    model = make()
    assert continuations(model, batch_size=batch_size) == [greedy(model, prompt, 8) for prompt in PROMPTS]


def test_the_padding_token_does_not_matter() -> None:
    assert continuations(llama(), pad_id=0) == continuations(llama(), pad_id=63)


def test_a_response_ends_before_its_stop_token() -> None:
    free = continuations(llama())
    stops = [free[0][2], free[2][4]]
    expected = [
        response[: next((i for i, token in enumerate(response) if token in stops), 8)] for response in free
    ]
    assert any(len(response) < 8 for response in expected)
    assert continuations(llama(), stop_ids=stops) == expected


def test_the_models_own_generation_settings_have_no_say_and_are_kept() -> None:
    model = llama()
    own = model.generation_config
    own.update(do_sample=True, temperature=5.0, repetition_penalty=9.0, max_length=2)
    assert continuations(model) == continuations(llama())
    assert model.generation_config is own
    assert own.repetition_penalty == 9.0


def test_seeds_reproduce_samples_and_leave_the_global_generator_alone() -> None:
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again, other = (continuations(llama(), temperature=1.0, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert first != other
    torch.manual_seed(3)
    assert torch.equal(torch.get_rng_state(), before)
    model = llama()
    torch.manual_seed(3)
    continuations(model, temperature=1.0, seed=1)
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_samples_follow_the_models_probabilities_at_the_temperature(temperature: float) -> None:
    model, count = tiny_llama(initializer_range=0.2).eval(), 4000
    samples = generate(
        model,
        [PROMPTS[2]] * count,
        max_new_tokens=1,
        stop_ids=NEVER,
        pad_id=0,
        temperature=temperature,
        batch_size=count,
    )
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([PROMPTS[2]])).logits[0, -1]
    expected = (logits / temperature).softmax(-1)
    found = Counter(token for (token,) in samples)
    share = torch.tensor([found[token] / count for token in range(64)])
    assert expected.max() > 0.05
    assert (share - expected).abs().max() < 4 * (0.25 / count) ** 0.5


def test_an_adapted_model_generates_with_its_adapter() -> None:
    plain = continuations(llama())
    adapted = add_lora(tiny_llama(initializer_range=0.3), r=2, alpha=4, dropout=0.0, target="all-linear")
    assert generate(adapted, PROMPTS, max_new_tokens=8, stop_ids=NEVER, pad_id=0) == plain
    torch.manual_seed(0)
    for parameter in adapted.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.5)
    assert generate(adapted, PROMPTS, max_new_tokens=8, stop_ids=NEVER, pad_id=0) != plain


def test_progress_counts_prompts_and_the_mode_stays() -> None:
    done: list[int] = []
    model = llama().train()
    continuations(model, batch_size=3, on_batch=done.append)
    assert done == [3, 1]
    assert model.training


# Batches


def batches(model: PreTrainedModel, size: int, **decoding: Any) -> list[dict[int, Generated]]:
    settings = Decoding(**({"max_new_tokens": 6, "stop_ids": NEVER, "pad_id": 0} | decoding))
    seeds = [(7, number) for number in range(len(PROMPTS))]
    return list(generate_batches(model, PROMPTS, settings, seeds=seeds, batch_size=size))


def joined(found: list[dict[int, Generated]]) -> dict[int, Generated]:
    return {number: one for batch in found for number, one in batch.items()}


def test_the_longest_prompts_come_first() -> None:
    assert [list(batch) for batch in batches(llama(), 2)] == [[1, 3], [2, 0]]


@pytest.mark.parametrize("make", [llama, opt])
def test_samples_do_not_depend_on_the_batch_that_they_are_in(make: Callable[[], PreTrainedModel]) -> None:
    first, *others = (
        joined(batches(make(), size, temperature=1.0, top_p=0.9)) for size in (1, 2, 3, len(PROMPTS))
    )
    assert all(other == first for other in others)
    assert len({tuple(one.ids) for one in first.values()}) == len(PROMPTS)


def test_what_no_stop_token_ends_is_truncated() -> None:
    free = joined(batches(llama(), 4))
    assert all(one.is_truncated for one in free.values())
    stop = free[0].ids[-1]  # the very last token that there is room for
    found = joined(batches(llama(), 4, stop_ids=[stop]))[0]
    assert stop not in found.ids
    assert not found.is_truncated


def test_a_batch_that_does_not_fit_is_halved_and_so_are_the_others(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    model = llama()
    expected = joined(batches(model, 4))
    plain, sizes = model.generate, list[int]()

    def generate(*, input_ids: torch.Tensor, **settings: Any) -> Any:
        sizes.append(len(input_ids))
        if len(input_ids) > 1:
            raise torch.OutOfMemoryError("out of memory")
        return plain(input_ids=input_ids, **settings)  # type: ignore[operator]

    monkeypatch.setattr(model, "generate", generate)
    assert joined(batches(model, 4)) == expected
    assert sizes == [4, 2, 1, 1, 1, 1]
    assert "with 2 prompts at a time; 1 from here on" in caplog.text


def test_a_single_prompt_that_does_not_fit_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    model = llama()

    def generate(**settings: Any) -> Any:
        raise torch.OutOfMemoryError("no room")

    monkeypatch.setattr(model, "generate", generate)
    with pytest.raises(ResourceError, match="single prompt of 10 tokens: no room"):
        batches(model, 4)
