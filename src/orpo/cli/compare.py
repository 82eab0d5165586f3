"""`orpo compare`: several ways to train, with the same budget and seeds, on one page."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orpo.cli.messages import one_clear_message, quiet_libraries, write_json
from orpo.config.systems import load_comparison
from orpo.errors import ConfigError, Interrupted
from orpo.rundir.command import command_line, launched

if TYPE_CHECKING:
    from orpo.comparison.plan import Plan

log = logging.getLogger(__name__)


def compare(
    config: Annotated[str, typer.Argument(help="A YAML file: that of a run, with a `compare` section.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="Dotted keys, such as compare.budget=800."),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would be trained with which budget, and end.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")] = False,
) -> None:
    """Train several systems with the same budget, and say which of their differences are more than chance.

    The same command goes on where an earlier one has ended; what is done is not repeated.

    Example: orpo compare compare.yaml model=models/base output=comparisons/first
    """
    again = launched(["compare", config, *(overrides or [])])
    with one_clear_message(again):
        quiet_libraries()
        _require_alone()
        loaded = load_comparison(config, overrides or [])
        from orpo.comparison.plan import make_plan  # imports torch: only once the configuration is right

        plan = make_plan(loaded)
        if dry_run:
            _show_plan(plan, as_json=as_json)
            return
        from orpo.comparison.compare import PAGE
        from orpo.comparison.compare import compare as run_comparison
        from orpo.comparison.record import as_record
        from orpo.comparison.table import results_table

        try:
            found = run_comparison(
                plan, command=command_line(), console=Console(stderr=True, highlight=False)
            )
        except Interrupted as stop:
            raise Interrupted(stop.reason, resumable=True) from None
        if as_json:
            write_json(as_record(found))
        else:
            Console(highlight=False).print(results_table(found))
        log.info("report written to %s", plan.output / PAGE)


def _require_alone() -> None:
    """Refuse to be one of several processes."""
    if os.environ.get("WORLD_SIZE", "1") != "1":
        raise ConfigError(
            "a comparison starts its runs by itself, and cannot be one of several processes",
            hint="Start it without torchrun.",
        )


def _show_plan(plan: Plan, *, as_json: bool) -> None:
    from orpo.comparison.record import plan_record
    from orpo.comparison.table import plan_table

    if as_json:
        write_json(plan_record(plan))
    else:
        Console(highlight=False).print(plan_table(plan))
