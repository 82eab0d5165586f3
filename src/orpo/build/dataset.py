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
from orpo.build.provenance import Item, Naming, public_names
from orpo.build.request import Portion, Request
from orpo.build.rows import Numbers, require_one_form
from orpo.build.split import split, without_shared
from orpo.credentials import redact
from orpo.data import Pair, RowCounts, stream_examples
from orpo.data.mixture import Ingredient, mix, require_weights
from orpo.data.shapes import Transcripts
from orpo.data.spec import Role
from orpo.data.table import fingerprint_examples
from orpo.doctor.duplicates import near_duplicates
from orpo.doctor.findings import Example as Near
from orpo.errors import DataError
from orpo.rundir import writing

log = logging.getLogger(__name__)

MANIFEST = "manifest.json"
CARD = "README.md"

NOT_USED = "beyond the weight or max_rows of its source"


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
        numbers = Numbers.of(chain(*dataset.splits.values()))
        with writing(output, left=LEFT):
            for name, items in files.items():
                write_items(folder / name, items, request.format, numbers)
            written = {name: describe_file(folder / name, len(items)) for name, items in files.items()}
            manifest = as_manifest(request, dataset, written)
            text = redact(json.dumps(manifest, indent=2, ensure_ascii=False)) + "\n"
            (folder / MANIFEST).write_text(text, encoding="utf-8")
            (folder / CARD).write_text(redact(data_card(manifest, output.name)), encoding="utf-8")
    return manifest


def _read(request: Request) -> list[Reading]:
    """The examples of every source."""
    uses: dict[Role, tuple[Portion, ...]] = {"train": request.train}
    if isinstance(request.eval, tuple):
        uses["eval"] = request.eval
    for portions in uses.values():
        require_weights([one.spec.path for one in portions], [one.weight for one in portions])
    names = iter(public_names([one.spec.path for portions in uses.values() for one in portions]))
    readings = [
        _read_source(use, portion, Naming(portion.spec.path, next(names)), request.transcripts)
        for use, portions in uses.items()
        for portion in portions
    ]
    for is_pair in (True, False):
        items = chain.from_iterable(reading.items for reading in readings)
        require_one_form(item for item in items if isinstance(item.example, Pair) is is_pair)
    return readings


def _read_source(use: Role, portion: Portion, naming: Naming, transcripts: Transcripts) -> Reading:
    stream = stream_examples(portion.spec, role=use, transcripts=transcripts)
    log.info("%s: %s: detected: %s", use, stream.name, stream.detected)
    examples = list(stream.examples)
    report = stream.report(stream.fingerprint or fingerprint_examples(examples), examples[0])
    items = [naming.item(example) for example in examples]
    return Reading(use, portion, naming.name, report, naming.counts(stream.counts), items)


def _compose(request: Request, readings: Sequence[Reading]) -> Dataset:
    """Clean the items of each use, and see to it that the two have no prompt in common."""
    by_use: dict[Role, list[Reading]] = {}
    for reading in readings:
        by_use.setdefault(reading.use, []).append(reading)
    splits: dict[Role, list[Item]] = {}
    counts: dict[Role, RowCounts] = {}
    for use, own in by_use.items():
        counts[use] = RowCounts(read=sum(len(reading.items) for reading in own))
        log.info("%s: cleaning %d examples", use, counts[use].read)
        splits[use] = clean(_used(own, request.seed, counts[use]), counts[use])
    if isinstance(request.eval, tuple):
        splits["train"] = without_shared(
            splits["train"], splits["eval"], request.near_duplicates, counts["train"]
        )
    for use, items in splits.items():
        counts[use].kept = len(items)
        _require_some(use, counts[use])
    if isinstance(request.eval, float):
        splits["train"], splits["eval"] = split(splits["train"], request.eval, request.seed)
    log.info("looking for near-duplicates within %s", " and within ".join(splits))
    near: dict[Role, list[Near]] = {use: near_duplicates(_pairs(items)) for use, items in splits.items()}
    return Dataset(readings, counts, splits, near)


def _used(readings: Sequence[Reading], seed: int, counts: RowCounts) -> list[Item]:
    """What is used of the sources of one use; the rest is counted as dropped."""
    ingredients = [
        Ingredient(one.name, len(one.items), one.portion.weight, one.portion.max_rows) for one in readings
    ]
    used: list[Item] = []
    for reading, share in zip(readings, mix(ingredients, seed), strict=True):
        indices = set(share.indices.tolist())
        for index, item in enumerate(reading.items):
            if index in indices:
                used.append(item)
            else:
                counts.drop(NOT_USED, item.example.where)
    return used


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
