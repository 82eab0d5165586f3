"""`orpo data`: look at preference data, and clean it, before training on it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orpo.cli.build import build
from orpo.cli.messages import one_clear_message, quiet_libraries, write_json, write_page
from orpo.cli.preview import preview
from orpo.cli.sources import is_config
from orpo.config import load_config
from orpo.errors import ConfigError, DataError

if TYPE_CHECKING:
    from orpo.doctor.request import Request

data_app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Look at preference data, and clean it, before you train on it.",
)


@data_app.command(no_args_is_help=True)
def check(
    source: Annotated[
        str,
        typer.Argument(
            metavar="SOURCE_OR_CONFIG",
            help="A data file, a folder, a Hub id, or the YAML file of a run (its data, model and template).",
        ),
    ],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="For a config: dotted keys, such as objective.name=kto."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(help="Check the tokens of this model: a folder or a Hub id.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=1, help="Most tokens of prompt + response; else the config's, or 2048.")
    ] = None,
    max_dropped: Annotated[
        float, typer.Option(min=0, max=1, help="Share of the rows that may be dropped before that is fatal.")
    ] = 0.2,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON on stdout.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the report as one HTML page to this file.")] = None,
) -> None:
    """Say what is wrong with preference data, and what to do about it.

    Exit code 3 if something is fatal.

    Example: orpo data check pairs.jsonl --model HuggingFaceTB/SmolLM2-135M --html check.html
    """
    with one_clear_message():
        quiet_libraries()
        request = _request(source, overrides or [], model, max_length, max_dropped)
        from orpo.doctor.examine import examine
        from orpo.doctor.page import as_page
        from orpo.doctor.record import as_record
        from orpo.doctor.table import as_table

        report = examine(request)
        if html is not None:
            write_page(html, as_page(report))
        if as_json:
            write_json(as_record(report))
        else:
            Console(highlight=False).print(as_table(report))
    if report.fatal:
        raise typer.Exit(DataError.exit_code)


data_app.command(no_args_is_help=True)(preview)
data_app.command(no_args_is_help=True)(build)


def _request(
    source: str, overrides: list[str], model: str | None, max_length: int | None, max_dropped: float
) -> Request:
    """What the arguments ask for; those that are given win over the config."""
    from orpo.doctor.request import request_for_config, request_for_source

    if is_config(source):
        request = request_for_config(load_config(source, overrides).config, max_dropped=max_dropped)
    elif overrides:
        raise ConfigError(
            f"{source} is no config, so there is nothing that {overrides[0]!r} could override",
            hint="Give one source, or the YAML file of a run (.yaml, .yml) and keys to override.",
        )
    else:
        request = request_for_source(source, max_dropped=max_dropped)
    if model is not None:
        request = replace(request, model=model, revision=None)
    return request if max_length is None else replace(request, max_length=max_length)
