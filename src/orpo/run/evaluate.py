"""One evaluation, top to bottom."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.console import Console

from orpo.data.preparation import Tokenization
from orpo.errors import ConfigError, Interrupted
from orpo.evaluation.embedders import HASHED, load_embedder
from orpo.interruption import listening
from orpo.modeling.scorer import unwrapped
from orpo.ops.distributed import World, join_world
from orpo.run.evaluation.held_out import EvaluationPairs, HeldOut, read_pairs
from orpo.run.evaluation.prompts import Asked, ask, prompts_in, prompts_under
from orpo.run.evaluation.record import begin, conclude
from orpo.run.evaluation.responses import generate_responses
from orpo.run.evaluation.scores import assessment_of, pair_figures, pair_rows, score_pairs
from orpo.run.evaluation.subject import Dtype, EvaluatedModel, is_run, load_other, load_run
from orpo.rundir import locked
from orpo.rundir.evaluations import RUN_EVALUATION, Data, EvaluationDirectory, EvaluationRecord
from orpo.rundir.records import Scalar
from orpo.text import printable

log = logging.getLogger(__name__)

NEW_TOKENS = 512
"""Most tokens of a response, unless the request says otherwise."""

EVALUATIONS = Path("evaluations")
"""Where evaluations of models that are no runs go."""


@dataclass(frozen=True, kw_only=True)
class EvaluationRequest:
    """What is asked of one evaluation."""

    target: str
    """A run directory, or the folder or Hub id of a model."""

    revision: str | None = None
    """Of a model on the Hub."""

    pairs: str | None = None
    """A source of pairs; None: those that the run held out."""

    prompts: Path | None = None
    """A file of prompts; None: those of the pairs."""

    output: Path | None = None
    """None: `evaluation/` of the run, or `evaluations/NAME`."""

    max_length: int | None = None
    """Tokens of prompt + response of a pair; None: as in training, or 2048."""

    template: str = "auto"
    """Of a model that is no run: see `data.template`."""

    dtype: Dtype = "auto"
    """Type of the weights and the products; `auto`: as in training, or what suits the device."""

    max_prompts: int | None = None
    """Respond to the first so many."""

    samples: int = 1
    """Of each prompt; 0 generates nothing."""

    max_new_tokens: int | None = None
    """None: 512, or half of the model's positions if they are fewer than twice that."""

    temperature: float = 0.0
    """0 takes the likeliest token."""

    top_p: float = 1.0
    """Sample from the likeliest tokens that together have at least this probability."""

    seed: int = 0
    """Of the samples."""

    batch_size: int = 64
    """Responses that are made together, which changes memory and speed only."""

    embedder: str = HASHED
    """Of the figures of diversity; see `load_embedder`."""

    overwrite: bool = False
    """Whether what an evaluation with other settings has left may be removed."""

    command: str = ""
    """For the record."""


def evaluate(request: EvaluationRequest, *, console: Console | None = None) -> Path:
    """Evaluate a model on pairs, and on prompts that it responds to.

    A call with the same request goes on where an earlier one has ended.

    Args:
        request: what is asked.
        console: where to show progress; None shows none.

    Returns:
        The directory of the evaluation; `orpo.rundir.evaluations.read_evaluation` reads it.

    Raises:
        OrpoError: anything that the user can act on; see `orpo.errors`.
        Interrupted: asked to end; the same request goes on.
    """
    _check(request)
    directory = EvaluationDirectory(_output(request))
    directory.require_usable()
    with listening(), join_world() as world:
        if world.size > 1:
            raise ConfigError(
                f"an evaluation is one process, and WORLD_SIZE is {world.size}",
                hint="Start it without torchrun.",
            )
        with locked(directory.path):
            _evaluate(request, directory, world, console)
    return directory.path


def _evaluate(
    request: EvaluationRequest, directory: EvaluationDirectory, world: World, console: Console | None
) -> None:
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
    record = begin(directory, subject.of, settings, data, request.command, overwrite=request.overwrite)
    if record.status == "finished":
        log.info("%s: evaluated already, with the same settings", directory.path)
        return
    try:
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
    except Interrupted as stop:
        raise Interrupted(stop.reason, resumable=True) from None


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


def _check(request: EvaluationRequest) -> None:
    if request.samples > 1 and request.temperature == 0:
        raise ConfigError(
            f"{request.samples} samples at temperature 0 would all be the same",
            hint="Set a temperature above 0, such as 1.",
        )
    if is_run(request.target) and (request.template != "auto" or request.revision is not None):
        raise ConfigError(
            "a run is evaluated with its own model and template",
            hint="Leave out --template and --revision, or evaluate its model/ in place of the run.",
        )


def _output(request: EvaluationRequest) -> Path:
    if request.output is not None:
        return request.output.expanduser()
    if is_run(request.target):
        return Path(request.target).expanduser() / RUN_EVALUATION
    name = re.sub(r"[^\w.-]+", "-", request.target).strip("-.")
    return EVALUATIONS / (name or "model")
