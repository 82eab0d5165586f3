"""`orpo judge`: A against B on the same prompts, without a model in this process."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orpo.cli.messages import one_clear_message, write_json
from orpo.errors import ConfigError, Interrupted, NetworkError

if TYPE_CHECKING:
    from orpo.judging.contest import Contest

ANSWERS = "answers.jsonl"
"""What was paid for, in the output folder."""


class JudgeKind(StrEnum):
    """Whom to ask."""

    LLM = "llm"
    PROGRAM = "program"


def judge(
    systems: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="MODEL BASELINE [MORE...]",
            help="Files of outputs: instruction (or prompt) and output, one file for each model.",
        ),
    ] = None,
    kind: Annotated[JudgeKind | None, typer.Option("--judge", help="Whom to ask.")] = None,
    annotations: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="Ask nobody: compute the table from AlpacaEval annotations."),
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="For annotations, and answers that were paid for.")
    ] = Path("judgements"),
    url: Annotated[
        str | None, typer.Option(help="llm: of an OpenAI-compatible API, such as http://localhost:8000/v1.")
    ] = None,
    model: Annotated[str | None, typer.Option(metavar="NAME", help="llm: the judge's name there.")] = None,
    api_key_env: Annotated[
        str, typer.Option(metavar="NAME", help="llm: variable of the environment that holds the key, if any.")
    ] = "OPENAI_API_KEY",
    parameters: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help="llm: of each request, beside temperature 0 and max_tokens 1024; null removes one.",
        ),
    ] = "{}",
    parallel: Annotated[int, typer.Option(min=1, max=256, help="llm: requests at the same time.")] = 8,
    retries: Annotated[int, typer.Option(min=0, max=20, help="llm: further tries of a failed request.")] = 5,
    timeout: Annotated[float, typer.Option(min=0.1, help="llm: seconds for one answer.")] = 120,
    price: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="PROMPT COMPLETION", help="llm: of a million tokens, in any currency."),
    ] = None,
    max_cost: Annotated[float | None, typer.Option(min=0, help="llm: stop when this much is spent.")] = None,
    max_requests: Annotated[int | None, typer.Option(min=0, help="llm: stop after so many.")] = None,
    command: Annotated[
        str | None, typer.Option(help="program: reads questions as JSON lines, writes verdicts as such.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Say how often one model is preferred to another, and how sure that is.

    The judge sees the responses in both orders; where it contradicts itself it is a tie.  Exit code 7 if some
    questions failed, 75 if a limit was reached: the same command goes on, and pays for nothing twice.

    Example: orpo judge ours.json theirs.json --judge llm --url http://localhost:8000/v1 --model judge
    """
    with one_clear_message():
        from orpo.judging.contest import judge_systems, read_contests, read_systems
        from orpo.judging.program import ProgramJudge
        from orpo.judging.record import spent_record
        from orpo.judging.service import Service, llm_judge
        from orpo.judging.spending import Limits, Prices

        paths = systems or []
        spent: dict[str, Any] | None = None
        _require_one_way(paths, kind, annotations, url=url, model=model, command=command)
        if annotations:
            contests = read_contests(annotations)
        elif command is not None:
            contests = judge_systems(ProgramJudge(command), read_systems(paths), output)
        else:
            assert url is not None
            assert model is not None
            service = Service(
                url=url,
                model=model,
                key=os.environ.get(api_key_env),
                parameters=parameters,
                parallel=parallel,
                retries=retries,
                timeout=timeout,
                prices=Prices(*price) if price else None,
                limits=Limits(max_requests, max_cost),
            )
            read = read_systems(paths)
            with _progress() as told, llm_judge(service, output / ANSWERS, told) as (asked, account):
                contests = judge_systems(asked, read, output)
                spent = spent_record(account.requests, account.usage, account.price(asked.used.values()))
        _show(contests, spent, as_json=as_json)
    _exit(contests)


def _require_one_way(
    paths: Sequence[Path], kind: JudgeKind | None, annotations: Sequence[Path] | None, **given: str | None
) -> None:
    """Refuse arguments that do not say who judges what, or that say it twice."""
    if annotations:
        needed, who = (), "--annotations"
        if paths or kind:
            raise ConfigError(
                "--annotations asks nobody, so it goes with neither outputs nor --judge",
                hint="Give annotations, or outputs and a judge.",
            )
    elif kind is None:
        raise ConfigError("nobody to ask", hint="Add --judge llm or --judge program, or --annotations FILE.")
    else:
        needed = ("url", "model") if kind is JudgeKind.LLM else ("command",)
        who = f"--judge {kind}"
        if len(paths) < 2:
            raise ConfigError(
                f"expected the outputs of at least two models, got {len(paths)} files",
                hint="Such as: orpo judge ours.json theirs.json --judge llm ...",
            )
    for option, value in given.items():
        if (value is not None) != (option in needed):
            raise ConfigError(f"{who} {'needs' if option in needed else 'does not take'} --{option}")


@contextmanager
def _progress() -> Generator[Callable[[int, int], None]]:
    """A bar on stderr, if that is a terminal."""
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("judging")
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show(contests: Sequence[Contest], spent: dict[str, Any] | None, *, as_json: bool) -> None:
    from orpo.judging.contest import standings
    from orpo.judging.record import as_record
    from orpo.judging.table import as_table

    record = as_record(contests, standings(contests), spent)
    if as_json:
        write_json(record)
    else:
        Console(highlight=False).print(as_table(record))


def _exit(contests: Sequence[Contest]) -> None:
    """Say with the exit code that something is missing."""
    from orpo.judging.verdicts import Status

    counts = sum((one.comparison.counts for one in contests), Counter[Status]())
    if counts[Status.ERROR] or not counts[Status.VALID]:
        raise typer.Exit(NetworkError.exit_code)
    if counts[Status.NOT_ASKED]:
        raise typer.Exit(Interrupted.exit_code)
