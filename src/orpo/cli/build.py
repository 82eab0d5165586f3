"""`orpo data build`: clean files of pairs from preference data of any kind."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from orpo.build.options import Format, NearDuplicates
from orpo.cli.messages import one_clear_message, quiet_libraries, write_json
from orpo.cli.sources import is_config
from orpo.config import load_config
from orpo.errors import ConfigError

if TYPE_CHECKING:
    from orpo.build.request import Request


def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE_OR_CONFIG...",
            help="Data files, folders and Hub ids, or the YAML file of a run (its data.train and data.eval).",
        ),
    ],
    output: Annotated[Path, typer.Option(metavar="DIR", help="A new or empty folder for what is built.")],
    fraction: Annotated[
        float | None,
        typer.Option(
            "--eval", min=0, max=1, help="Share of the examples to hold out; else the config's, or 0.05."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(min=0, max=2**32 - 1, help="Which prompts are held out; else the config's, or 42."),
    ] = None,
    policy: Annotated[
        str | None,
        typer.Option(
            help="Pairs of several scored responses: best-vs-worst, best-vs-random or all-above-margin."
        ),
    ] = None,
    criterion: Annotated[
        str | None, typer.Option(help="Which judgement to learn from, where rows have several.")
    ] = None,
    min_margin: Annotated[
        float | None,
        typer.Option(min=0, help="Least difference of scores, ranks or graded labels in a pair."),
    ] = None,
    near_duplicates: Annotated[
        NearDuplicates,
        typer.Option(help="Training examples whose prompt is nearly one of data.eval's own sources."),
    ] = NearDuplicates.DROP,
    form: Annotated[Format, typer.Option("--format", help="Of the files.")] = Format.JSONL,
    as_json: Annotated[bool, typer.Option("--json", help="Print the manifest as JSON on stdout.")] = False,
) -> None:
    """Make clean files of preference pairs from ratings, votes, rankings, labelled responses or pairs.

    Duplicates and pairs that contradict each other are left out and counted, no prompt is in both splits, and
    every row says where it is from.

    Example: orpo data build votes.jsonl ratings.parquet --output data/clean --eval 0.1
    """
    with one_clear_message():
        quiet_libraries()
        from orpo.build.dataset import build_dataset
        from orpo.build.request import with_fraction, with_reading
        from orpo.build.table import as_table

        request = _request(sources)
        if fraction is not None:
            request = with_fraction(request, fraction)
        if seed is not None:
            request = replace(request, seed=seed)
        request = with_reading(request, policy=policy, criterion=criterion, min_margin=min_margin)
        request = replace(request, near_duplicates=near_duplicates, format=form)
        manifest = build_dataset(request, output)
        Console(stderr=True, highlight=False).print(as_table(manifest, output))
        if as_json:
            write_json(manifest)


def _request(sources: Sequence[str]) -> Request:
    from orpo.build.request import request_for_config, request_for_sources

    configs = [source for source in sources if is_config(source)]
    if not configs:
        return request_for_sources(sources)
    if len(sources) > 1:
        raise ConfigError(
            f"{configs[0]}: a config stands alone, got {len(sources)} arguments",
            hint="Add the other sources to its data.train, or name sources only.",
        )
    return request_for_config(load_config(configs[0]).config)
