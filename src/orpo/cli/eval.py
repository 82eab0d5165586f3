"""`orpo eval`: what a model makes of pairs, and what it responds to prompts."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from rich.console import Console

from orpo.cli.messages import one_clear_message, quiet_libraries, write_json
from orpo.cli.server import ApiKeyEnv, MaxCost, MaxRequests, Parallel, Price, Retries, Timeout, service
from orpo.errors import ConfigError
from orpo.rundir.command import command_line

if TYPE_CHECKING:
    from orpo.run.evaluate import EvaluationRequest

log = logging.getLogger(__name__)

Dtype = Literal["auto", "float32", "bfloat16", "float16"]


def evaluate(
    target: Annotated[
        str | None,
        typer.Argument(metavar="RUN_OR_MODEL", help="A run directory, or the folder or Hub id of a model."),
    ] = None,
    pairs: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="Pairs to score; of a run, those that it held out by default."),
    ] = None,
    prompts: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Prompts to respond to: rows with instruction, prompt or messages; the pairs' by default.",
        ),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Else evaluation/ of the run, or evaluations/NAME.")
    ] = None,
    samples: Annotated[
        int, typer.Option(min=0, help="Responses to each prompt; 0 generates none, 2 or more show diversity.")
    ] = 1,
    temperature: Annotated[
        float, typer.Option(min=0, help="0 takes the likeliest token; above, responses are drawn.")
    ] = 0.0,
    top_p: Annotated[
        float,
        typer.Option(min=0.001, max=1, help="Draw from the likeliest tokens with this much probability."),
    ] = 1.0,
    max_new_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Of a response; else 512, or half of the model's positions if fewer."),
    ] = None,
    max_prompts: Annotated[int | None, typer.Option(min=1, help="Respond to the first so many.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the responses that are drawn.")] = 0,
    batch_size: Annotated[
        int, typer.Option(min=1, help="Responses at a time: memory and speed, never the result.")
    ] = 64,
    embedder: Annotated[
        str,
        typer.Option(
            help="For diversity: hashed, the folder or Hub id of an encoder, sentence-transformers:NAME or "
            "model2vec:NAME."
        ),
    ] = "hashed",
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Tokens of a pair's prompt + response; else as in training.")
    ] = None,
    template: Annotated[
        str, typer.Option(help="Chat template of a model that is no run; as `data.template`.")
    ] = "auto",
    revision: Annotated[str | None, typer.Option(help="Of a model on the Hub.")] = None,
    dtype: Annotated[
        Dtype, typer.Option(help="Type of weights and products; auto: as in training, or what suits.")
    ] = "auto",
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Remove an evaluation with other settings from the folder.")
    ] = False,
    url: Annotated[
        str | None,
        typer.Option(help="Let an OpenAI-compatible server generate, such as http://localhost:8000/v1."),
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="server: the model's name there.")] = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    parameters: Annotated[
        str,
        typer.Option(metavar="JSON", help="server: of each request, beside those above; null removes one."),
    ] = "{}",
    parallel: Parallel = 8,
    retries: Retries = 5,
    timeout: Timeout = 300,
    price: Price = None,
    max_cost: MaxCost = None,
    max_requests: MaxRequests = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the record as JSON on stdout.")] = False,
) -> None:
    """Say how a model ranks held-out pairs, and have it respond to prompts.

    The same command goes on where an earlier one has ended.  Exit code 7 if a server left responses out, 75
    if a limit was reached or somebody asked to end.

    Example: orpo eval runs/first --samples 5 --temperature 1
    """
    command = command_line()
    with one_clear_message(command):
        quiet_libraries()
        name = _who(target, url, model)
        asked = None
        if url is not None:
            asked = service(
                url=url,
                model=name,
                api_key_env=api_key_env,
                parameters=parameters,
                parallel=parallel,
                retries=retries,
                timeout=timeout,
                price=price,
                max_cost=max_cost,
                max_requests=max_requests,
            )
        from orpo.run.evaluate import EvaluationRequest  # imports torch

        _evaluate(
            EvaluationRequest(
                target=name,
                service=asked,
                revision=revision,
                pairs=pairs,
                prompts=prompts,
                output=output,
                max_length=max_length,
                template=template,
                dtype=dtype,
                max_prompts=max_prompts,
                samples=samples,
                max_new_tokens=max_new_tokens,
                temperature=temperature,
                top_p=top_p,
                seed=seed,
                batch_size=batch_size,
                embedder=embedder,
                overwrite=overwrite,
                command=command,
            ),
            as_json=as_json,
        )


def _who(target: str | None, url: str | None, model: str | None) -> str:
    """The target, or the model's name at the server."""
    if url is None:
        if model is not None:
            raise ConfigError("--model is a name at a server, and there is no --url", hint="Add --url URL.")
        if target is None:
            raise ConfigError(
                "there is nothing to evaluate", hint="Name a run or a model, or --url URL --model NAME."
            )
        return target
    if target is not None or model is None:
        raise ConfigError(
            "--url needs --model NAME and no other model",
            hint="Such as: orpo eval --url http://localhost:8000/v1 --model NAME --prompts FILE",
        )
    return model


def _evaluate(request: EvaluationRequest, *, as_json: bool) -> None:
    from orpo.evaluation.table import as_table
    from orpo.run.evaluate import evaluate
    from orpo.rundir.evaluations import read_evaluation

    path = evaluate(request, console=Console(stderr=True, highlight=False))
    record: dict[str, Any] = read_evaluation(path).record.model_dump(mode="json")
    if as_json:
        write_json(record)
    else:
        Console(highlight=False).print(as_table(record))
    log.info("evaluation written to %s", path)
