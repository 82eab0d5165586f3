"""The command line: verbs, messages on stderr, results on stdout, exit codes."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer
from rich.console import Console

from orpo.cli.data import data_app
from orpo.cli.messages import one_clear_message, quiet_libraries
from orpo.config import load_config

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
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON on stdout.")] = False,
) -> None:
    """Align a model on preference pairs.

    Example: orpo train config.yaml objective.lambda=0.2 output=runs/second
    """
    with one_clear_message():
        quiet_libraries()
        console = Console(stderr=True, highlight=False)
        summary: Mapping[str, Any]
        if config == "quickstart":
            from orpo.quickstart.demo import quickstart

            summary = quickstart(overrides or [], console, console if as_json else Console(highlight=False))
        else:
            loaded = load_config(config, overrides or [])
            from orpo.run import train as run_training  # imports torch: only once the configuration is right

            summary = run_training(loaded, console=console).summary
    if as_json and _is_main_process():
        sys.stdout.write(json.dumps(summary) + "\n")


app.add_typer(data_app, name="data")


def _is_main_process() -> bool:
    """Whether this is the one process of the run that speaks."""
    return os.environ.get("RANK", "0") == "0"


def main() -> None:
    """Run the command line and exit."""
    app(prog_name="orpo")
