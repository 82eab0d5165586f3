"""`orpo judge`: A against B on the same prompts, by whoever is asked."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from orpo.cli.messages import one_clear_message, quiet_libraries, write_json
from orpo.cli.server import ApiKeyEnv, MaxCost, MaxRequests, Parallel, Price, Retries, Timeout, service
from orpo.errors import ConfigError, Interrupted, NetworkError

if TYPE_CHECKING:
    from orpo.chat.service import Service
    from orpo.judging.contest import Contest
    from orpo.judging.mt_bench import Scoreboard

log = logging.getLogger(__name__)

UNFIT = {
    "unfit": "%s is UNFIT to judge: on held-out pairs it does not beat chance, or not a rule that looks at "
    "lengths only. The figures above do not say which model is better.",
    "not known": "it is not known whether %s is fit to judge. Pairs that it was not trained on can tell: "
    "--held-out PAIRS",
}
"""What is said last of a reward model, by its standing."""

ANSWERS = "answers.jsonl"
"""What was paid for, in the output folder."""


class JudgeKind(StrEnum):
    """Whom to ask."""

    LLM = "llm"
    REWARD = "reward"
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
        typer.Option(
            metavar="FILE",
            help="Ask nobody: compute the table from AlpacaEval annotations or MT-Bench judgements.",
        ),
    ] = None,
    output: Annotated[
        Path, typer.Option(metavar="DIR", help="For annotations, and answers that were paid for.")
    ] = Path("judgements"),
    url: Annotated[
        str | None,
        typer.Option(help="llm: the server, an OpenAI-compatible API such as http://localhost:8000/v1."),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="llm: the judge's name there. reward: a run, a folder or a Hub id.",
        ),
    ] = None,
    held_out: Annotated[
        str | None,
        typer.Option(
            metavar="PAIRS",
            help="reward: pairs that it was not trained on, to find out whether it may judge.",
        ),
    ] = None,
    api_key_env: ApiKeyEnv = "OPENAI_API_KEY",
    parameters: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help="server: of each request, beside temperature 0 and max_tokens 1024; null removes one.",
        ),
    ] = "{}",
    parallel: Parallel = 8,
    retries: Retries = 5,
    timeout: Timeout = 120,
    price: Price = None,
    max_cost: MaxCost = None,
    max_requests: MaxRequests = None,
    command: Annotated[
        str | None, typer.Option(help="program: reads questions as JSON lines, writes verdicts as such.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Say how often one model is preferred to another, and how sure that is.

    The judge sees the responses in both orders; where it contradicts itself it is a tie.  A reward model
    values each response by itself, and whether it may judge is said beside its figures.  Exit code 7 if some
    questions failed, 75 if a limit was reached: the same command goes on, and pays for nothing twice.

    Example: orpo judge ours.json theirs.json --judge llm --url http://localhost:8000/v1 --model judge
    """
    with one_clear_message():
        paths = systems or []
        given = {"url": url, "model": model, "command": command, "held-out": held_out}
        _require_one_way(paths, kind, annotations, given)
        if annotations:
            from orpo.judging.published import read_published

            published = read_published(annotations)
            outcome = Outcome(published.contests, scores=published.scores)
        elif kind is JudgeKind.PROGRAM:
            assert command is not None
            outcome = _ask_program(paths, output, command)
        elif kind is JudgeKind.REWARD:
            assert model is not None
            outcome = _ask_reward_model(paths, output, model, held_out)
        else:
            assert url is not None
            assert model is not None
            asked = service(
                url=url,
                model=model,
                api_key_env=api_key_env,
                parameters=parameters,
                parallel=parallel,
                retries=retries,
                timeout=timeout,
                price=price,
                max_cost=max_cost,
                max_requests=max_requests,
            )
            outcome = _ask_service(paths, output, asked)
        _show(outcome, as_json=as_json)
    _exit(outcome)


@dataclass(frozen=True)
class Outcome:
    """What was found out, to be shown."""

    contests: Sequence[Contest]
    scores: Sequence[Scoreboard] = ()
    spent: dict[str, Any] | None = None
    reward_model: dict[str, Any] | None = None


def _ask_program(paths: Sequence[Path], output: Path, command: str) -> Outcome:
    from orpo.judging.contest import judge_systems, read_systems
    from orpo.judging.program import ProgramJudge

    return Outcome(judge_systems(ProgramJudge(command), read_systems(paths), output))


def _ask_service(paths: Sequence[Path], output: Path, service: Service) -> Outcome:
    from orpo.judging.contest import judge_systems, read_systems
    from orpo.judging.record import spent_record
    from orpo.judging.service import llm_judge

    systems = read_systems(paths)
    with _progress() as told, llm_judge(service, output / ANSWERS, told) as (judge, account):
        contests = judge_systems(judge, systems, output)
        spent = spent_record(account.requests, account.usage, account.price(judge.used.values()))
    return Outcome(contests, spent=spent)


def _ask_reward_model(paths: Sequence[Path], output: Path, model: str, held_out: str | None) -> Outcome:
    from orpo.judging.contest import judge_systems, read_systems

    systems = read_systems(paths)  # before the model, which takes a while
    quiet_libraries()
    from orpo.judging.reward.judge import reward_judge
    from orpo.judging.reward.record import reward_record

    with _progress() as told:
        judge = reward_judge(model, held_out=held_out, progress=told)
        contests = judge_systems(judge, systems, output)
    return Outcome(contests, reward_model=reward_record(judge))


_NEEDED = {
    JudgeKind.LLM: {"url", "model"},
    JudgeKind.PROGRAM: {"command"},
    JudgeKind.REWARD: {"model"},
}
_ALLOWED = _NEEDED | {JudgeKind.REWARD: {"model", "held-out"}}


def _require_one_way(
    paths: Sequence[Path],
    kind: JudgeKind | None,
    annotations: Sequence[Path] | None,
    given: Mapping[str, str | None],
) -> None:
    """Refuse arguments that do not say who judges what, or that say it twice."""
    needed: set[str] = set()
    allowed: set[str] = set()
    if annotations:
        who = "--annotations"
        if paths or kind:
            raise ConfigError(
                "--annotations asks nobody, so it goes with neither outputs nor --judge",
                hint="Give annotations, or outputs and a judge.",
            )
    elif kind is None:
        raise ConfigError("nobody to ask", hint="Add --judge llm, reward or program, or --annotations FILE.")
    else:
        who, needed, allowed = f"--judge {kind}", _NEEDED[kind], _ALLOWED[kind]
        if len(paths) < 2:
            raise ConfigError(
                f"expected the outputs of at least two models, got {len(paths)} files",
                hint="Such as: orpo judge ours.json theirs.json --judge llm ...",
            )
    for option, value in given.items():
        if value is None and option in needed:
            raise ConfigError(f"{who} needs --{option}")
        if value is not None and option not in allowed:
            raise ConfigError(f"{who} does not take --{option}")


@contextmanager
def _progress() -> Generator[Callable[[int, int], None]]:
    """A bar on stderr, if that is a terminal."""
    columns = (TextColumn("judging"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("judging")
        yield lambda done, total: progress.update(task, completed=done, total=total)


def _show(outcome: Outcome, *, as_json: bool) -> None:
    from orpo.judging.contest import standings
    from orpo.judging.record import as_record
    from orpo.judging.table import as_table

    contests = outcome.contests
    record = as_record(
        contests,
        standings(contests),
        scores=outcome.scores,
        spent=outcome.spent,
        reward_model=outcome.reward_model,
    )
    if as_json:
        write_json(record)
    else:
        Console(highlight=False).print(as_table(record))
    if (found := outcome.reward_model) is not None and found["standing"] != "fit":
        log.warning(UNFIT[found["standing"]], found["name"])


def _exit(outcome: Outcome) -> None:
    """Say with the exit code that something is missing."""
    from orpo.judging.verdicts import Status

    counts = sum((one.comparison.counts for one in outcome.contests), Counter[Status]())
    if counts[Status.ERROR] or (outcome.contests and not counts[Status.VALID]):
        raise typer.Exit(NetworkError.exit_code)
    if counts[Status.NOT_ASKED]:
        raise typer.Exit(Interrupted.exit_code)
