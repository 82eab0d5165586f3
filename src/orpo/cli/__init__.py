"""The command line: verbs, messages on stderr, results on stdout, exit codes."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.console import Console

from orpo.config import load_config
from orpo.errors import EXIT_INTERRUPTED, OrpoError
from orpo.text import printable

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    help="One-phase preference alignment for language models (ORPO, arXiv:2403.07691).",
)


@app.callback()
def _verbs() -> None:
    """Keep `orpo train` a verb although it is the only one."""


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
    with _one_clear_message():
        _quiet_libraries()
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


def _safe(message: str) -> str:
    """`message` line by line without what a terminal would obey: it may quote data, files or models."""
    return "\n".join(map(printable, message.split("\n")))


class _SafeFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return _safe(super().format(record))


@contextmanager
def _one_clear_message() -> Generator[None]:
    """Turn what the user can act on into a message and an exit code; our own faults keep their traceback."""
    handler = logging.StreamHandler()
    handler.setFormatter(_SafeFormatter("%(message)s"))
    logger = logging.getLogger("orpo")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    try:
        yield
    except OrpoError as error:
        sys.stderr.write(_safe(f"error: {error}") + "\n")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        sys.exit(EXIT_INTERRUPTED)
    finally:
        logger.propagate = True
        logger.removeHandler(handler)


def _quiet_libraries() -> None:
    """Ask libraries that are not yet imported to be quiet; a user who set these variables has the say."""
    os.environ.setdefault("HF_HUB_VERBOSITY", "error")  # else one message for each retry of each request
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")  # transformers heeds it too


def _is_main_process() -> bool:
    """Whether this is the one process of the run that speaks."""
    return os.environ.get("RANK", "0") == "0"


def main() -> None:
    """Run the command line and exit."""
    app(prog_name="orpo")
