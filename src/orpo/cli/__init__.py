"""The command line: verbs, messages on stderr, results on stdout, exit codes."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.main import get_command

from orpo.allocator import use_huge_pages
from orpo.cli.again import how_to_resume
from orpo.cli.compare import compare
from orpo.cli.data import data_app
from orpo.cli.eval import evaluate
from orpo.cli.judge import judge
from orpo.cli.messages import is_main_process, one_clear_message, quiet_libraries, show_traceback, write_json
from orpo.cli.report import report
from orpo.config import load_config
from orpo.interruption import leave
from orpo.quickstart.place import with_place

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="One-phase preference alignment for language models (ORPO, arXiv:2403.07691).",
)


@app.command(no_args_is_help=True)
def train(
    config: Annotated[str, typer.Argument(help="A YAML file, or `quickstart`: bundled, works offline.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="Dotted keys, such as objective.lambda=0.2."),
    ] = None,
    resume: Annotated[
        str | None,
        typer.Option(
            metavar="auto|PATH",
            help="Go on with the run in `output`: from its newest sound checkpoint, or from the one at PATH. "
            "With `auto`, a run that is not there yet is started.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Align a model on preference pairs.

    Example: orpo train config.yaml objective.lambda=0.2 output=runs/second
    """
    overrides = overrides or []
    if config == "quickstart":
        overrides = with_place(overrides, is_new=resume is None)
    again = how_to_resume(config, overrides)
    with one_clear_message(again):
        quiet_libraries()
        console = Console(stderr=True, highlight=False)
        summary: Mapping[str, Any]
        if config == "quickstart":
            from orpo.quickstart.demo import quickstart

            report = console if as_json else Console(highlight=False)
            summary = quickstart(overrides, console, report, resume=resume)
        else:
            loaded = load_config(config, overrides)
            from orpo.run import train as run_training  # imports torch: only once the configuration is right

            summary = run_training(loaded, console=console, resume=resume, how_to_resume=again).summary
    if as_json and is_main_process():
        write_json(summary)


app.command(no_args_is_help=True)(compare)
app.command("eval", no_args_is_help=True)(evaluate)
app.command(no_args_is_help=True)(report)
app.command(no_args_is_help=True)(judge)
app.add_typer(data_app, name="data")


def main() -> None:
    """Run the command line and exit."""
    sys.excepthook = show_traceback
    use_huge_pages()
    try:
        get_command(app)(prog_name="orpo")  # `app()` itself would set a hook of typer's
    finally:
        leave()
