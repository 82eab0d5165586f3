"""Responses of a model to prompts."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager

import torch
from peft import PeftModel
from transformers import GenerationConfig, PreTrainedModel


@torch.no_grad()
def generate(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[Sequence[int]],
    *,
    max_new_tokens: int,
    stop_ids: Sequence[int],
    pad_id: int,
    temperature: float = 0.0,
    seed: int = 0,
    batch_size: int = 64,
    on_batch: Callable[[int], None] = lambda count: None,
) -> list[list[int]]:
    """Continue each prompt until a stop token.

    The model's own generation settings, such as a repetition penalty, have no say.

    Args:
        model: a causal language model, or PEFT's wrapper of one; its mode is left as it is.
        prompts: token ids, at least one each.
        max_new_tokens: most tokens per response.
        stop_ids: tokens that end a response.
        pad_id: fills prompts on the left and responses on the right.
        temperature: 0 takes the likeliest token; above, samples are drawn.
        seed: of the samples.
        batch_size: prompts per forward pass.
        on_batch: called with the number of prompts just done.

    Returns:
        The new ids of each prompt, in order, without the stop token and what follows it.
    """
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    assert isinstance(base, PreTrainedModel)
    device = next(base.parameters()).device
    sampling = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature > 0 else {}
    config = GenerationConfig(
        max_new_tokens=max_new_tokens, eos_token_id=list(stop_ids), pad_token_id=pad_id, **sampling
    )
    responses: list[list[int]] = []
    with _without_own_settings(base), torch.random.fork_rng([device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        for start in range(0, len(prompts), batch_size):
            batch = prompts[start : start + batch_size]
            width = max(len(prompt) for prompt in batch)
            ids = torch.full((len(batch), width), pad_id)
            mask = torch.zeros((len(batch), width), dtype=torch.int64)
            for i, prompt in enumerate(batch):
                ids[i, width - len(prompt) :] = torch.tensor(prompt)
                mask[i, width - len(prompt) :] = 1
            output = base.generate(  # pyright: ignore[reportCallIssue]  a mixin that pyright loses
                input_ids=ids.to(device), attention_mask=mask.to(device), generation_config=config
            )
            responses += [_until_stop(row, stop_ids) for row in output[:, width:].tolist()]
            on_batch(len(batch))
    return responses


@contextmanager
def _without_own_settings(model: PreTrainedModel) -> Generator[None]:
    """Hide `model.generation_config`, from which `generate` fills in whatever it is not given."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _until_stop(ids: list[int], stop_ids: Sequence[int]) -> list[int]:
    end = next((i for i, token in enumerate(ids) if token in stop_ids), len(ids))
    return ids[:end]
