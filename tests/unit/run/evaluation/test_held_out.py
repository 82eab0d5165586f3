"""The pairs of an evaluation, with the account of every row."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from orpo.config import DataSection
from orpo.data.preparation import Tokenization
from orpo.data.templates import Template
from orpo.errors import ConfigError, DataError
from orpo.run.evaluation.held_out import (
    NOT_HELD_OUT,
    EvaluationPairs,
    HeldOut,
    prompts_of,
    read_pairs,
)
from tests.rows import write_rows
from tests.tiny import byte_tokenizer


def plain(prompts: Any, max_length: int = 64) -> Tokenization:
    return Tokenization(
        template=Template("none", None), max_length=max_length, truncation="drop", finds_answers=False
    )


def held_out(folder: Path, **section: Any) -> HeldOut:
    given = {"train": str(folder / "train.jsonl"), "cache": str(folder / "cache")} | section
    return HeldOut(DataSection.model_validate(given), seed=7)


def read(which: HeldOut, max_length: int = 64) -> EvaluationPairs:
    return read_pairs(which, partial(plain, max_length=max_length), byte_tokenizer(), None)[0]


def account(pairs: EvaluationPairs) -> dict[str, int]:
    assert pairs.used.read == pairs.used.count + sum(pairs.used.dropped.values())
    assert pairs.used.count == len(pairs.tokens) == len(pairs.sources)
    return pairs.used.dropped


def test_a_fraction_is_what_training_left_out(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 20)
    pairs = read(held_out(tmp_path, eval=0.25))
    assert account(pairs) == {NOT_HELD_OUT: 15}
    assert read(held_out(tmp_path, eval=0.25)).fingerprint == pairs.fingerprint
    assert read(held_out(tmp_path, eval=0.2)).fingerprint != pairs.fingerprint


def test_every_row_of_every_source_is_accounted_for(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "chosen": "a", "rejected": "b"},
        {"prompt": "q", "chosen": "a", "rejected": "a"},
        {"prompt": "q", "chosen": "a" * 80, "rejected": "b"},
        {"prompt": "q", "chosen": "", "rejected": "b"},
    ]
    first = tmp_path / "first.jsonl"
    first.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    second = write_rows(tmp_path / "second.jsonl", 5)
    pairs = read(held_out(tmp_path, eval=[str(first), {"path": str(second), "max_rows": 3}]))
    assert account(pairs) == {
        "over max_rows": 2,
        "identical responses": 1,
        "longer than max_length": 1,
        "empty response": 1,
    }
    assert pairs.sources == [str(first), *[str(second)] * 3]
    assert pairs.prompt_numbers == [0, 1, 2, 3]


def test_single_responses_are_no_pairs(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "completion": "a", "label": True},
        {"prompt": "r", "completion": "b", "label": True},
    ]
    path = tmp_path / "train.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    which = held_out(tmp_path, eval=str(path))
    with pytest.raises(DataError, match="none of the 2 examples to evaluate on is a pair"):
        read(HeldOut(which.data, 7, keep_unpaired=True))


def test_prompts_are_found_again_by_what_tells_them_apart(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 20)
    which = held_out(tmp_path, eval=0.25)
    pairs = read(which)
    found = prompts_of(which, pairs.tokens)
    texts = [found[key] for key in pairs.tokens.prompt_keys()]
    tokenizer = byte_tokenizer()
    assert texts == [tokenizer.decode(list(pair.prompt)) for pair in pairs.tokens]


def test_another_source_is_taken_whole(tmp_path: Path) -> None:
    write_rows(tmp_path / "train.jsonl", 4)
    other = write_rows(tmp_path / "other.jsonl", 9)
    pairs = read(held_out(tmp_path, eval=0.5).of(str(other)))
    assert account(pairs) == {}
    assert pairs.used.count == 9


def test_rows_that_were_in_memory_are_gone(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="were rows in memory"):
        held_out(tmp_path, eval="rows in memory").open()
