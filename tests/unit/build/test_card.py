"""The card is read by people and by the Hub, and text in it is text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orpo.build.card import data_card
from orpo.build.dataset import build_dataset
from orpo.build.options import NearDuplicates
from orpo.build.request import Request
from tests.datafiles import write_rows
from tests.unit.build.items import portion

HOSTILE = "a|b<script>`c`[d](http://e)\u202e.jsonl"


def card(tmp_path: Path, evaluation: Any = 0.25, **options: Any) -> str:
    rows = [{"prompt": f"{i}?", "chosen": "a", "rejected": "b"} for i in range(8)]
    source = write_rows(tmp_path / "train.jsonl", [*rows, rows[0]])
    if evaluation == "sources":
        test = [{"prompt": "x?", "chosen": "a", "rejected": "b"}]
        evaluation = (portion(write_rows(tmp_path / "test.jsonl", test)),)
    request = Request(train=(portion(source),), eval=evaluation, **options)
    build_dataset(request, tmp_path / "out")
    return (tmp_path / "out" / "README.md").read_text(encoding="utf-8")


def test_the_front_matter_names_the_splits(tmp_path: Path) -> None:
    start, text, _ = card(tmp_path).split("---\n", 2)
    assert start == ""
    assert YAML(typ="safe").load(text)["configs"] == [
        {
            "config_name": "default",
            "data_files": [
                {"split": "train", "path": "train.jsonl"},
                {"split": "eval", "path": "eval.jsonl"},
            ],
        }
    ]


def test_it_says_what_was_read_left_out_and_held_out(tmp_path: Path) -> None:
    text = card(tmp_path)
    assert "\n# out\n" in text
    assert "| train.jsonl | 6 |" in text
    detected = "strings (\\`chosen\\` and \\`rejected\\` continue the text of \\`prompt\\`)"
    assert f"| train | train.jsonl |  | {detected} | 9 | 9 | 9 |\n" in text
    assert (
        "| train examples | duplicate of an earlier example | 1 | train.jsonl:9, as train.jsonl:1 |\n" in text
    )
    assert "A fraction of 0.25 is held out by prompt, with seed 42" in text


@pytest.mark.parametrize(
    ("evaluation", "near", "sentence"),
    [
        (None, NearDuplicates.DROP, "Nothing is held out."),
        ("sources", NearDuplicates.DROP, "is nearly one of the evaluation's were left out."),
        ("sources", NearDuplicates.KEEP, "is nearly one of the evaluation's were kept."),
    ],
)
def test_it_says_how_the_split_was_made(
    tmp_path: Path, evaluation: Any, near: NearDuplicates, sentence: str
) -> None:
    assert sentence in card(tmp_path, evaluation, near_duplicates=near)


def test_nothing_left_out_is_said_in_words() -> None:
    assert "## What was left out\n\nNothing.\n" in data_card(manifest(), "out")


def test_text_of_names_and_data_is_text() -> None:
    text = data_card(manifest(name=HOSTILE, dropped={HOSTILE: {"count": 1, "first": HOSTILE}}), HOSTILE)
    assert text.count("a\\|b&lt;script>\\`c\\`\\[d\\](http://e)�.jsonl") == 5
    assert "<script" not in text
    assert "\u202e" not in text


def manifest(**source: Any) -> dict[str, Any]:
    return {
        "settings": {"eval": None, "seed": 1, "near_duplicates": "drop"},
        "sources": [
            {
                "use": "train", "name": "a.jsonl", "split": None, "detected": "strings",
                "read": 1, "kept": 1, "examples": 1, "dropped": {}, **source,
            }
        ],
        "cleaning": {"train": {"dropped": {}}},
        "files": {"train.jsonl": {"rows": 1, "sha256": "0"}},
    }  # fmt: skip
