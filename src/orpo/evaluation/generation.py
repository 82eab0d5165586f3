"""Responses of a model to prompts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from peft import PeftModel
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

from orpo.errors import ResourceError
from orpo.evaluation.sampling import InverseTransformSampling, Seed, uniform_numbers
from orpo.modeling.scorer import unwrapped
from orpo.ops.memory import is_out_of_memory, out_of_memory_message, release_memory

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Decoding:
    """How responses come from a model's probabilities; its own generation settings have no say."""

    max_new_tokens: int
    """Most tokens per response."""

    stop_ids: Sequence[int]
    """Tokens that end a response."""

    pad_id: int
    """Fills prompts on the left and responses on the right."""

    temperature: float = 0.0
    """0 takes the likeliest token; above, samples are drawn."""

    top_p: float = 1.0
    """Samples are drawn from the likeliest tokens that together have at least this probability."""


@dataclass(frozen=True)
class Generated:
    """One response."""

    ids: list[int]
    """Without the stop token and what follows it."""

    is_truncated: bool
    """Whether no stop token came before the limit."""


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

    Args:
        model: a causal language model, or PEFT's wrapper of one; its mode is left as it is.
        prompts: token ids, at least one each.
        max_new_tokens, stop_ids, pad_id, temperature: see `Decoding`.
        seed: of the samples, each of which depends on it and on the number of the prompt.
        batch_size: prompts per forward pass.
        on_batch: called with the number of prompts just done.

    Returns:
        The new ids of each prompt, in order.

    Raises:
        ResourceError: see `generate_batches`.
    """
    decoding = Decoding(max_new_tokens, stop_ids, pad_id, temperature)
    seeds = [(seed, number) for number in range(len(prompts))]
    responses: dict[int, list[int]] = {}
    for batch in generate_batches(model, prompts, decoding, seeds=seeds, batch_size=batch_size):
        responses |= {number: generated.ids for number, generated in batch.items()}
        on_batch(len(batch))
    return [responses[number] for number in range(len(prompts))]


@torch.no_grad()
def generate_batches(
    model: PreTrainedModel | PeftModel,
    prompts: Sequence[Sequence[int]],
    decoding: Decoding,
    *,
    seeds: Sequence[Seed],
    batch_size: int,
) -> Iterator[dict[int, Generated]]:
    """Continue each prompt, batch by batch, the longest prompts first.

    What becomes of a prompt does not depend on the batch that it is in, but for rounding.  A batch that does
    not fit into memory is halved, and so are those after it.

    Args:
        model: a causal language model, or PEFT's wrapper of one; its mode is left as it is.
        prompts: N of them, token ids, at least one each.
        decoding: how.
        seeds: (N,) of the samples.
        batch_size: prompts per forward pass.

    Yields:
        Responses by the number of their prompt, as they are made.

    Raises:
        ResourceError: a single prompt does not fit into memory.
    """
    base = unwrapped(model)
    waiting = sorted(range(len(prompts)), key=lambda number: (-len(prompts[number]), number))
    while waiting:
        batch = waiting[:batch_size]
        try:
            generated = _continue(base, [prompts[i] for i in batch], decoding, [seeds[i] for i in batch])
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            message = out_of_memory_message(error)
        else:
            waiting = waiting[len(batch) :]
            yield dict(zip(batch, generated, strict=True))
            continue
        release_memory(base.device)  # only here, where the exception holds the failed try's tensors no more
        if len(batch) == 1:
            raise ResourceError(
                f"out of memory on {base.device} with a single prompt of {len(prompts[batch[0]])} tokens: "
                f"{message}",
                hint="Allow fewer new tokens, or use a smaller type of weights.",
            )
        batch_size = len(batch) // 2
        log.warning("out of memory with %d prompts at a time; %d from here on", len(batch), batch_size)


def _continue(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], decoding: Decoding, seeds: Sequence[Seed]
) -> list[Generated]:
    """One batch."""
    width = max(map(len, prompts))
    ids = torch.full((len(prompts), width), decoding.pad_id)
    mask = torch.zeros((len(prompts), width), dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        ids[row, width - len(prompt) :] = torch.tensor(prompt)
        mask[row, width - len(prompt) :] = 1
    processors = LogitsProcessorList()
    if decoding.temperature > 0:
        uniforms = uniform_numbers(seeds, decoding.max_new_tokens)
        uniforms = uniforms.float() if model.device.type == "mps" else uniforms
        processors.append(
            InverseTransformSampling(
                uniforms.to(model.device), width, temperature=decoding.temperature, top_p=decoding.top_p
            )
        )
    config = GenerationConfig(
        max_new_tokens=decoding.max_new_tokens,
        eos_token_id=list(decoding.stop_ids) or None,
        pad_token_id=decoding.pad_id,
    )
    with _without_own_settings(model):
        output = model.generate(  # pyright: ignore[reportCallIssue]  a mixin that pyright loses
            input_ids=ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=config,
            logits_processor=processors,
        )
    return [_until_stop(row, decoding.stop_ids) for row in output[:, width:].tolist()]


@contextmanager
def _without_own_settings(model: PreTrainedModel) -> Generator[None]:
    """Hide `model.generation_config`, from which `generate` fills in whatever it is not given."""
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _until_stop(ids: list[int], stop_ids: Sequence[int]) -> Generated:
    end = next((i for i, token in enumerate(ids) if token in stop_ids), None)
    return Generated(ids if end is None else ids[:end], is_truncated=end is None)
