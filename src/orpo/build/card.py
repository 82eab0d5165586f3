"""The card of a built data set: what it holds and how it was made, in words, and what the Hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import PurePath
from typing import Any

from orpo.text import markdown

_NEAR = {
    "drop": "Training examples whose prompt is nearly one of the evaluation's were left out.",
    "keep": "Training examples whose prompt is nearly one of the evaluation's were kept.",
}


def data_card(manifest: Mapping[str, Any], name: str) -> str:
    """README.md of the folder; text that comes from the data or from paths is escaped.

    Args:
        manifest: as `as_manifest` makes it.
        name: of the folder.
    """
    sections = [
        _front_matter(manifest["files"]),
        f"# {markdown(name)}\n",
        "Preference pairs, built with `orpo data build`. `manifest.json` has the whole account.\n",
        "## Files\n",
        _table(("file", "rows", "SHA-256"), _files(manifest)),
        "Rows hold `prompt` with `chosen` and `rejected` (or, for single responses, with `completion`), as\n"
        "text or as lists of `{role, content}`; an `id` that depends on these only; and the `source` with\n"
        "the place in it (`where`) that they are from.\n",
        "## Sources\n",
        _table(("use", "source", "split", "read as", "rows", "kept", "examples"), _sources(manifest)),
        "## What was left out\n",
        _table(("from", "why", "number", "first"), _dropped(manifest)),
        "## Split\n",
        _split(manifest),
    ]
    return "\n".join(sections)


def _front_matter(files: Mapping[str, Any]) -> str:
    """The card's metadata: which file is which split, single responses as a configuration of their own."""
    configs: dict[str, list[str]] = {}
    for file in files:
        use, _, kind = PurePath(file).stem.partition("_")
        entry = f"      - {{split: {use}, path: {file}}}"
        configs.setdefault(kind or "default", []).append(entry)
    lines = [
        line
        for config, entries in configs.items()
        for line in (f"  - config_name: {config}", "    data_files:", *entries)
    ]
    return "\n".join(["---", "configs:", *lines, "tags: [preference-pairs, orpo]", "---", ""])


def _files(manifest: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for name, file in manifest["files"].items():
        yield name, file["rows"], file["sha256"]


def _sources(manifest: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    for source in manifest["sources"]:
        yield (
            *(source["use"], source["name"], source["split"] or "", source["detected"]),
            *(source["read"], source["kept"], source["examples"]),
        )


def _dropped(manifest: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    accounts = [(f"rows of {source['name']}", source) for source in manifest["sources"]]
    accounts += [(f"{use} examples", counts) for use, counts in manifest["cleaning"].items()]
    for name, counts in accounts:
        for reason, dropped in counts["dropped"].items():
            yield name, reason, dropped["count"], dropped["first"]


def _split(manifest: Mapping[str, Any]) -> str:
    settings = manifest["settings"]
    held_out = settings["eval"]
    if held_out is None:
        return "Nothing is held out.\n"
    if held_out == "sources":
        how = "The evaluation has sources of its own; no prompt of it is in the training data."
        return f"{how} {_NEAR[settings['near_duplicates']]}\n"
    return (
        f"A fraction of {held_out:g} is held out by prompt, with seed {settings['seed']}: no prompt, nor\n"
        "one that nearly repeats it, is on both sides.\n"
    )


def _table(header: tuple[str, ...], rows: Iterator[tuple[object, ...]]) -> str:
    body = ["| " + " | ".join(map(markdown, row)) + " |" for row in rows]
    if not body:
        return "Nothing.\n"
    return "\n".join(["| " + " | ".join(header) + " |", "|" + "---|" * len(header), *body, ""])
