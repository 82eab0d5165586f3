"""The program that turns other columns into pairs: it has to run, and to be right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orpo.data.mapping import mapping_hint
from orpo.data.pairs import Message, Pair
from orpo.data.read import read_pairs
from orpo.data.rows import Row
from orpo.data.sources import Source
from orpo.data.spec import SourceSpec
from orpo.errors import DataError
from tests.datafiles import write_rows
from tests.paths import SHARED, needs_shared


def refused(source: Source) -> str:
    """The program in the hint for a source whose columns are not understood."""
    with pytest.raises(DataError) as caught:
        read_pairs([source], role="train")
    introduction, program = str(caught.value.hint).split("\n\n")
    assert introduction.startswith("Write the rows in one of these shapes")
    return program


def hint(**values: Any) -> str:
    return mapping_hint([Row("a.jsonl:1", values)], SourceSpec("a.jsonl"))


@needs_shared
@pytest.mark.parametrize(
    ("name", "rows"),
    [("alpaca_eval/eval.jsonl", 450), ("alpaca_eval", 450), ("llamafactory/dpo_en_demo.json", 300)],
)
def test_the_program_for_real_data_makes_pairs_of_it(
    name: str, rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    split = "eval" if name == "alpaca_eval" else None
    exec(refused(SourceSpec(str(SHARED / "data" / name), split=split)), {})
    table = read_pairs([SourceSpec("pairs.jsonl")], role="train")
    assert table.counts.read == rows
    assert len(table) >= rows - 3


@needs_shared
def test_the_program_for_alpaca_eval_prefers_what_the_judge_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    source = SHARED / "data" / "alpaca_eval" / "eval.jsonl"
    exec(refused(SourceSpec(str(source))), {})
    pairs = read_pairs([SourceSpec("pairs.jsonl")], role="train")
    for row, pair in zip(map(json.loads, source.read_text().splitlines()), pairs, strict=False):
        assert pair.chosen == row[f"output_{round(row['preference'])}"]


def test_ties_are_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [{"instruction": "q", "output_1": "a", "output_2": "b", "preference": p} for p in (1, 1.5, 2)]
    exec(refused(rows), {"rows": rows})
    pairs = list(read_pairs([SourceSpec("pairs.jsonl")], role="train"))
    assert [(pair.chosen, pair.rejected) for pair in pairs] == [("a", "b"), ("b", "a")]


def test_other_names_are_mapped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_rows(tmp_path / "a.csv", [{"question": "q", "accepted": "a", "worse": "b"}])
    exec(refused(SourceSpec("a.csv")), {})
    (pair,) = read_pairs([SourceSpec("pairs.jsonl")], role="train")
    assert pair == Pair((Message("user", "q"),), "a", "b", "pairs.jsonl:1")


@pytest.mark.parametrize(
    ("values", "part"),
    [
        ({"post": "q", "good": "a", "bad": "b"}, "row[FILL_IN]"),
        ({"prompt": "q", "response 1": "a", "response 2": "b", "label": 0}, 'row["label"] == FILL_IN'),
        ({"history": "q", "human_ref_A": "a", "human_ref_B": "b", "labels": 1}, 'row["labels"] == FILL_IN'),
        ({"prompt": "q", "answer_1": "a", "answer_2": "b"}, "row[FILL_IN] == FILL_IN"),
        ({"prompt": "q", "response_0": "a", "response_1": "b", "label": 1}, 'row["label"] < 0.5'),
    ],
)
def test_what_names_do_not_tell_is_left_to_the_reader(values: dict[str, Any], part: str) -> None:
    program = hint(**values).split("\n\n")[1]
    assert part in program
    compile(program, "hint", "exec")


def test_the_program_opens_the_same_split_and_revision() -> None:
    spec = SourceSpec('o/"n"', config="c", split="s", revision="r")
    assert """SourceSpec('o/"n"', config="c", split="s", revision="r")""" in mapping_hint(
        [Row("x", {"a": 1})], spec
    )


def test_columns_with_the_right_names_get_no_program() -> None:
    assert hint(chosen="a", rejected="b") == (
        "The names fit, the values do not: make them one of these shapes. "
        "Strings that are no transcripts need a `prompt` column."
    )
