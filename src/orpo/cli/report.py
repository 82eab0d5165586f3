"""`orpo report`: one page about one or several runs."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from orpo.cli.messages import one_clear_message, write_json, write_page

log = logging.getLogger(__name__)

DEFAULT_PAGE = Path("report.html")


def report(
    runs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN...", help="Run directories, each the `output` of a run, ended or not."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(help="Write the page to this file; without --json, report.html if it is not given."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the figures as JSON on stdout.")] = False,
) -> None:
    """Say on one HTML page what was trained on what, how it went, and what differs between runs.

    Example: orpo report runs/first runs/second --output compared.html
    """
    with one_clear_message():
        from orpo.report.page import as_page  # scipy behind it takes a moment: only when it is asked for
        from orpo.report.record import as_record
        from orpo.report.run import read_runs

        found = read_runs(runs)
        page = output if output is not None or as_json else DEFAULT_PAGE
        if page is not None:
            write_page(page, as_page(found), option="--output")
            log.info("report written to %s", page)
        if as_json:
            write_json(as_record(found))
