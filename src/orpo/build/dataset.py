"""The building, top to bottom: read, clean, split, write."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from orpo.build.card import data_card
from orpo.build.clean import clean
from orpo.build.files import LEFT, describe_file, staged, write_items
from orpo.build.manifest import Dataset, Reading, as_manifest
from orpo.build.options import Format
from orpo.build.provenance import Item, items_of, public_names
from orpo.build.request import Request
from orpo.build.rows import require_one_form
from orpo.build.split import split, without_shared
from orpo.data import Pair, RowCounts, SourceSpec, stream_examples
from orpo.data.spec import Role
from orpo.data.table import fingerprint_examples
from orpo.doctor.duplicates import near_duplicates
from orpo.errors import DataError
from orpo.rundir import writing

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
CARD = "README.md"


def build_dataset(request: Request, output: Path) -> dict[str, Any]:
    """Build the data set that `request` asks for in the folder `output`.

    Returns:
        The manifest that is written there, too.

    Raises:
        ConfigError: `output` is taken; or see `orpo.data.stream_examples`.
        DataError: a source cannot be read; nothing is left; chats and plain text are mixed; there are too few
            prompts to hold some out.
        ResourceError: `output` cannot be written.
        NetworkError: see `orpo.data.stream_examples`.
    """
    with staged(output) as folder:
        dataset = _compose(request, _read(request))
        files = _files(dataset.splits, request.format)
        has_weights = any(item.example.weight != 1 for item in chain(*dataset.splits.values()))
        with writing(output, left=LEFT):
            for name, items in files.items():
                write_items(folder / name, items, request.format, has_weights=has_weights)
            written = {name: describe_file(folder / name, len(items)) for name, items in files.items()}
            manifest = as_manifest(request, dataset, written)
            text = json.dumps(manifest, indent=2, ensure_ascii=False) + "\n"
            (folder / MANIFEST).write_text(text, encoding="utf-8")
            (folder / CARD).write_text(data_card(manifest, output.name), encoding="utf-8")
    return manifest


def _read(request: Request) -> list[Reading]:
    """The examples of every source."""
    sources: list[tuple[Role, SourceSpec]] = [("train", spec) for spec in request.train]
    if isinstance(request.eval, tuple):
        sources += [("eval", spec) for spec in request.eval]
    names = public_names([spec.path for _, spec in sources])
    readings: list[Reading] = []
    for (use, spec), name in zip(sources, names, strict=True):
        log.info("reading %s", spec.path)
        stream = stream_examples(spec, role=use, transcripts=request.transcripts)
        examples = list(stream.examples)
        report = stream.report(stream.fingerprint or fingerprint_examples(examples), examples[0])
        readings.append(Reading(use, spec, name, report, items_of(examples, spec.path, name)))
    for is_pair in (True, False):
        items = chain.from_iterable(reading.items for reading in readings)
        require_one_form(item for item in items if isinstance(item.example, Pair) is is_pair)
    return readings


def _compose(request: Request, readings: Sequence[Reading]) -> Dataset:
    """Clean the items of each use, and see to it that the two have no prompt in common."""
    splits: dict[Role, list[Item]] = {}
    counts: dict[Role, RowCounts] = {}
    for reading in readings:
        splits.setdefault(reading.use, []).extend(reading.items)
    for use, items in splits.items():
        log.info("cleaning %d %s examples", len(items), use)
        counts[use] = RowCounts(read=len(items))
        splits[use] = clean(items, counts[use])
        counts[use].kept = len(splits[use])
        _require_some(use, counts[use])
    if isinstance(request.eval, tuple):
        splits["train"] = without_shared(
            splits["train"], splits["eval"], request.near_duplicates, counts["train"]
        )
        counts["train"].kept = len(splits["train"])
        _require_some("train", counts["train"])
    elif request.eval is not None:
        splits["train"], splits["eval"] = split(splits["train"], request.eval, request.seed)
    near = {use: near_duplicates(_pairs(items)) for use, items in splits.items()}
    return Dataset(readings, counts, splits, near)


def _require_some(use: Role, counts: RowCounts) -> None:
    if not counts.kept:
        reasons = "\n".join(
            f"  {number} {reason} (first: {counts.examples[reason]})"
            for reason, number in counts.dropped.most_common()
        )
        raise DataError(f"not one of {counts.read} {use} examples is left:\n{reasons}")


def _files(splits: Mapping[Role, Sequence[Item]], form: Format) -> dict[str, list[Item]]:
    """What goes into each file by its name; single responses into files of their own."""
    files: dict[str, list[Item]] = {}
    for use, items in splits.items():
        files[f"{use}.{form}"] = [item for item in items if isinstance(item.example, Pair)]
        files[f"{use}_sft.{form}"] = [item for item in items if not isinstance(item.example, Pair)]
    return {name: items for name, items in files.items() if items}


def _pairs(items: Sequence[Item]) -> list[Pair]:
    return [item.example for item in items if isinstance(item.example, Pair)]
