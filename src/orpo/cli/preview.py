"""`orpo data preview`: the tensors of training, decoded."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from orpo.cli.messages import one_clear_message, quiet_libraries, write_json, write_page
from orpo.config import load_config


class SplitName(StrEnum):
    """Which data of a run."""

    TRAIN = "train"
    EVAL = "eval"


class LayoutName(StrEnum):
    """How pairs are given to the model; `orpo.batch.Layout`, for which torch would have to be imported."""

    SHARED = "shared"
    PACKED = "packed"
    PADDED = "padded"


def preview(
    config: Annotated[str, typer.Argument(help="The YAML file of a run.")],
    overrides: Annotated[
        list[str] | None,
        typer.Argument(metavar="key=value", help="Dotted keys, such as objective.definition=trl."),
    ] = None,
    count: Annotated[int, typer.Option(min=1, help="How many of the first examples to show.")] = 3,
    row: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHERE",
            help="Show the examples of this row instead, named as in messages: pairs.jsonl:17. Repeatable.",
        ),
    ] = None,
    split: Annotated[SplitName, typer.Option(help="Which data of the run.")] = SplitName.TRAIN,
    layout: Annotated[
        LayoutName | None,
        typer.Option(help="How the tensors are laid out; else as training.layout, where auto is shared."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the preview as JSON on stdout.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write the preview as an HTML page to this file.")] = None,
) -> None:
    """Show the tensors of training, token by token.

    The margin says which terms of the loss each token is in.

    Example: orpo data preview config.yaml objective.definition=trl --row pairs.jsonl:17 --html preview.html
    """
    with one_clear_message():
        quiet_libraries()
        loaded = load_config(config, overrides or [])
        # These import torch: only once the configuration is right.
        from orpo.preview.look import Choice
        from orpo.preview.look import preview as look
        from orpo.preview.page import as_page
        from orpo.preview.record import as_record
        from orpo.preview.table import as_table

        choice = Choice(
            split=split.value,
            count=count,
            rows=tuple(row or ()),
            layout=layout.value if layout is not None else None,
        )
        shown = look(loaded.config, choice, Console(stderr=True, highlight=False))
        if html is not None:
            write_page(html, as_page(shown))
        if as_json:
            write_json(as_record(shown))
        else:
            Console(highlight=False).print(as_table(shown))
