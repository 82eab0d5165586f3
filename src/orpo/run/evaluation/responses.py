"""Responses of the model in this process, kept as they are made."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from rich.console import Console

from orpo.data.pairs import Single
from orpo.data.prompts import PromptRow
from orpo.data.rendering import Renderer, Rendering, TemplateRefusalError
from orpo.data.templates import Template
from orpo.data.tokens import NO_PROMPT, PairTokenizer
from orpo.errors import ConfigError, DataError, Interrupted
from orpo.evaluation.generation import Decoding, Generated, generate_batches
from orpo.interruption import describe, postponed, requested
from orpo.modeling.scorer import unwrapped
from orpo.ops.precision import autocast
from orpo.run.evaluation.subject import EvaluatedModel
from orpo.rundir.evaluations import EvaluationDirectory, ResponseRow
from orpo.training.progress import advancing

log = logging.getLogger(__name__)

NO_ROOM = "prompt leaves no room for the response"


@dataclass(frozen=True)
class RenderedPrompt:
    """A prompt as a model is given it."""

    index: int
    """Among all prompts of the source."""

    instruction: str
    text: str
    ids: tuple[int, ...]
    dataset: str | None


def render(
    subject: EvaluatedModel, rows: Sequence[PromptRow], template: Template, max_new_tokens: int
) -> tuple[list[RenderedPrompt], Counter[str]]:
    """The prompts that the model can respond to, and why it cannot to the others.

    Args:
        subject: the model.
        rows: the prompts.
        template: how conversations are written.
        max_new_tokens: room that a response needs.

    Raises:
        DataError, ConfigError: see `Renderer.prompt`.
    """
    renderer = Renderer(subject.tokenizer, template)
    encoder = PairTokenizer(subject.tokenizer, template, max_length=subject.max_length)
    kept: list[RenderedPrompt] = []
    dropped: Counter[str] = Counter()
    for index, row in enumerate(rows):
        try:
            text, ids = renderer.prompt(row.prompt), tuple(encoder.prompt_ids(row.prompt))
        except TemplateRefusalError as refusal:
            dropped[refusal.message] += 1
            continue
        if not ids:
            dropped[NO_PROMPT] += 1
        elif subject.positions is not None and len(ids) + max_new_tokens > subject.positions:
            dropped[NO_ROOM] += 1
        else:
            kept.append(RenderedPrompt(index, row.instruction, text, ids, row.dataset))
    return kept, dropped


def stop_ids(subject: EvaluatedModel, row: PromptRow, template: Template) -> tuple[int, ...]:
    """The tokens that end responses: those that the model, its tokenizer or the template name.

    Args:
        subject: the model.
        row: any prompt.
        template: how conversations are written.
    """
    config = getattr(unwrapped(subject.model), "generation_config", None)
    named = config.eos_token_id if config is not None else None
    ids = {named} if isinstance(named, int) else set[int](named or ())
    if isinstance(subject.tokenizer.eos_token_id, int):
        ids.add(subject.tokenizer.eos_token_id)
    # A template that is no good for training, or a tokenizer without EOS, may still be good for answering.
    with suppress(DataError, ConfigError):
        rendering = Renderer(subject.tokenizer, template).example(Single(row.prompt, "x", True, "prompt"))
        if isinstance(rendering, Rendering):
            ids.add(rendering.end)
    return tuple(sorted(ids))


def generate_responses(
    subject: EvaluatedModel,
    prompts: Sequence[RenderedPrompt],
    decoding: Decoding,
    directory: EvaluationDirectory,
    *,
    samples: int,
    seed: int,
    batch_size: int,
    console: Console | None,
) -> None:
    """Make the responses that are not there yet, each batch kept before the next one is begun.

    Args:
        subject: the model.
        prompts: what is responded to.
        decoding: how.
        directory: where responses are kept, and those that are there already.
        samples: of each prompt.
        seed: of all samples; each depends on it, on its number and on that of its prompt alone.
        batch_size: responses that are made together.
        console: where to show progress; None shows none.

    Raises:
        DataError: a response that is there is damaged.
        Interrupted: asked to end; what was made is kept.
        ResourceError: a single prompt does not fit into memory, or the directory cannot be written.
    """
    done = {(row.prompt_index, row.sample) for row in directory.go_on()}
    wanted = [(prompt, sample) for prompt in prompts for sample in range(samples)]
    missing = [(prompt, sample) for prompt, sample in wanted if (prompt.index, sample) not in done]
    batches = generate_batches(
        subject.model,
        [prompt.ids for prompt, _ in missing],
        decoding,
        seeds=[(seed, prompt.index, sample) for prompt, sample in missing],
        batch_size=batch_size,
    )
    device = unwrapped(subject.model).device
    progress = advancing(console, "generating", len(wanted), len(wanted) - len(missing))
    with progress as advance, autocast(device, subject.dtype):
        for batch in batches:
            rows = [_row(subject, *missing[number], made) for number, made in batch.items()]
            with keeping():
                directory.append_responses(rows)
            advance(len(rows))


def _row(subject: EvaluatedModel, prompt: RenderedPrompt, sample: int, made: Generated) -> ResponseRow:
    response = subject.tokenizer.decode(made.ids, skip_special_tokens=True)
    assert isinstance(response, str)
    return ResponseRow(
        prompt_index=prompt.index,
        sample=sample,
        instruction=prompt.instruction,
        prompt=prompt.text,
        response=response,
        tokens=len(made.ids),
        truncated=made.is_truncated,
    )


@contextmanager
def keeping() -> Iterator[None]:
    """Let a signal that comes meanwhile end the process only once the block is done.

    Raises:
        Interrupted: one came.
    """
    with postponed():
        yield
    if number := requested():
        raise Interrupted(describe(number))
