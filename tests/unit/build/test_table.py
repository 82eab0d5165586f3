from __future__ import annotations

from pathlib import Path
from typing import Any

from rich.console import Console

from orpo.build.table import as_table


def shown(manifest: dict[str, Any], output: str = "out") -> list[str]:
    console = Console(width=100)
    with console.capture() as capture:
        console.print(as_table(manifest, Path(output)))
    return [line.rstrip() for line in capture.get().splitlines()]


def manifest(name: str = "a.jsonl") -> dict[str, Any]:
    tie = {"tie": {"count": 2, "first": f"{name}:3"}}
    return {
        "sources": [{"use": "train", "name": name, "read": 100, "dropped": tie}],
        "cleaning": {"train": {"read": 98, "dropped": {}, "notes": {"prompt is near": 4}}},
        "splits": {
            "train": {
                "pairs": 88,
                "single_responses": 0,
                "near_duplicate_pairs": {"count": 1, "first": "a.jsonl:9"},
            },
            "eval": {"pairs": 7, "single_responses": 3, "near_duplicate_pairs": {"count": 0, "first": None}},
        },
        "files": {"train.jsonl": {}, "eval.jsonl": {}, "eval_sft.jsonl": {}},
    }


def test_every_row_is_accounted_for_with_the_first_of_each_reason() -> None:
    assert shown(manifest()) == [
        "100  train: rows of a.jsonl",
        "  2    dropped: tie (first: a.jsonl:3)",
        " 98  train: examples",
        "  4    kept: prompt is near",
        " 88  train: pairs written",
        "  1    kept: nearly an earlier pair (first: a.jsonl:9)",
        "  7  eval: pairs written",
        "  3  eval: single responses written",
        "written to out: train.jsonl, eval.jsonl, eval_sft.jsonl, manifest.json, README.md",
    ]


def test_names_cannot_command_the_terminal() -> None:
    text = "\n".join(shown(manifest("\x1b[31m[bold]x\u202e"), "o\x1b[1mut"))
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]x" in text
