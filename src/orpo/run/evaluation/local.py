"""The evaluation of a model in this process."""

from __future__ import annotations

import logging
from functools import partial

from rich.console import Console

from orpo.data.preparation import Tokenization
from orpo.errors import ConfigError
from orpo.evaluation.embedders import load_embedder
from orpo.modeling.scorer import unwrapped
from orpo.ops.distributed import World
from orpo.run.evaluation.held_out import EvaluationPairs, HeldOut, read_pairs
from orpo.run.evaluation.prompts import Asked, ask, prompts_in, prompts_under
from orpo.run.evaluation.record import begun, conclude
from orpo.run.evaluation.request import NEW_TOKENS, EvaluationRequest
from orpo.run.evaluation.responses import generate_responses
from orpo.run.evaluation.scores import assessment_of, pair_figures, pair_rows, score_pairs
from orpo.run.evaluation.subject import EvaluatedModel, is_run, load_other, load_run
from orpo.rundir.evaluations import Data, EvaluationDirectory, EvaluationRecord
from orpo.rundir.records import Scalar
from orpo.text import printable

log = logging.getLogger(__name__)


def evaluate_model(
    request: EvaluationRequest, directory: EvaluationDirectory, world: World, console: Console | None
) -> None:
    """Score the pairs, generate the responses, and write what there is to say of them.

    Args:
        request: what is asked; of no service.
        directory: of the evaluation.
        world: this process, alone.
        console: where to show progress; None shows none.

    Raises:
        OrpoError, Interrupted: see `orpo.run.evaluate`.
    """
    subject = _load(request, world)
    held_out = subject.held_out if request.pairs is None else subject.own.of(request.pairs)
    pairs, how = None, None
    if held_out is not None:
        tokenization = partial(subject.tokenization, held_out)
        pairs, how = read_pairs(held_out, tokenization, subject.tokenizer, console)
    asked = _ask(request, subject, held_out, pairs, how)
    if pairs is None and asked is None:
        raise ConfigError(
            f"there is nothing to evaluate {printable(subject.of.name)} on",
            hint="Name pairs with --pairs SOURCE, or prompts with --prompts FILE.",
        )
    embedder = load_embedder(request.embedder, world.device) if asked and request.samples > 1 else None
    settings = _settings(request, subject, pairs, how, asked)
    data = Data(pairs=pairs.used if pairs else None, prompts=asked.used if asked else None)
    opened = begun(directory, subject.of, settings, data, request.command, overwrite=request.overwrite)
    with opened as record:
        if record is None:
            return
        if pairs is not None and record.pairs is None:
            record = _with_pairs(record, directory, subject, pairs, world, console)
        if asked is not None:
            generate_responses(
                subject,
                asked.prompts,
                asked.decoding,
                directory,
                samples=request.samples,
                seed=request.seed,
                batch_size=request.batch_size,
                console=console,
            )
        datasets = {prompt.index: prompt.dataset for prompt in asked.prompts} if asked else {}
        conclude(directory, record, datasets, samples=request.samples, embedder=embedder)


def _load(request: EvaluationRequest, world: World) -> EvaluatedModel:
    log.info("loading %s", request.target)
    if is_run(request.target):
        return load_run(request.target, world.device, max_length=request.max_length, dtype=request.dtype)
    return load_other(
        request.target,
        world.device,
        revision=request.revision,
        template=request.template,
        max_length=request.max_length,
        dtype=request.dtype,
    )


def _ask(
    request: EvaluationRequest,
    subject: EvaluatedModel,
    held_out: HeldOut | None,
    pairs: EvaluationPairs | None,
    how: Tokenization | None,
) -> Asked | None:
    """What the model is asked: the prompts of a file, or those of the pairs as the pairs have them."""
    if subject.kind.is_reward or not request.samples:
        if request.prompts is not None:
            raise ConfigError(
                "--prompts: a reward model generates nothing"
                if subject.kind.is_reward
                else "--prompts: 0 samples of each are asked for",
                hint="Leave it out.",
            )
        return None
    if request.prompts is not None:
        source = prompts_in(request.prompts)
        template = subject.prompt_template(row.prompt for row in source.rows)
    elif pairs is not None and held_out is not None and how is not None:
        source, template = prompts_under(held_out, pairs), how.template
    else:
        return None
    return ask(
        subject,
        source,
        template,
        max_prompts=request.max_prompts,
        max_new_tokens=request.max_new_tokens or _new_tokens(subject),
        temperature=request.temperature,
        top_p=request.top_p,
    )


def _settings(
    request: EvaluationRequest,
    subject: EvaluatedModel,
    pairs: EvaluationPairs | None,
    how: Tokenization | None,
    asked: Asked | None,
) -> dict[str, Scalar]:
    """What decides scores and responses, beside model and data."""
    settings: dict[str, Scalar] = {"products": str(subject.dtype or unwrapped(subject.model).dtype)}
    if pairs is not None and how is not None:
        settings |= {
            "max_length": how.max_length,
            "truncation": how.truncation,
            "template": how.template.name,
            "template_sha256": how.template.sha256,
            "pairs_sha256": pairs.fingerprint,
        }
    if asked is not None:
        settings |= {"samples": request.samples, "seed": request.seed, **asked.settings}
        settings["embedder"] = request.embedder if request.samples > 1 else None
    return settings


def _with_pairs(
    record: EvaluationRecord,
    directory: EvaluationDirectory,
    subject: EvaluatedModel,
    pairs: EvaluationPairs,
    world: World,
    console: Console | None,
) -> EvaluationRecord:
    """The record with the figures of the pairs, both written."""
    scores = score_pairs(subject, pairs, world, console)
    directory.write_pairs(pair_rows(subject, pairs, scores))
    figures = {
        "pairs": pair_figures(subject, pairs, scores),
        "assessment": assessment_of(subject, pairs, scores),
    }
    record = record.model_copy(update=figures)
    directory.write_record(record)
    return record


def _new_tokens(subject: EvaluatedModel) -> int:
    return min(NEW_TOKENS, (subject.positions or 2 * NEW_TOKENS) // 2)
