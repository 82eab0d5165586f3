"""Prompts of any usual file, each row accounted for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orpo.data.pairs import Message
from orpo.data.prompts import ANSWER_LEFT_OFF, NOT_THE_USERS, read_prompts
from orpo.errors import DataError
from tests.paths import SHARED, needs_shared

USER, ANSWER = {"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}


def written(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def prompts(folder: Path, *rows: dict[str, Any]) -> list[Any]:
    return [row.prompt for row in read_prompts(written(folder, *rows))[0]]


def test_texts_stay_texts(tmp_path: Path) -> None:
    assert prompts(tmp_path, {"prompt": " 1 + 1 ="}, {"prompt": "b"}) == [" 1 + 1 =", "b"]
    assert prompts(tmp_path, {"instruction": "a", "output": "b"}) == ["a"]
    assert prompts(tmp_path, {"instruction": "translate", "input": "chien"}) == ["translate\n\nchien"]


def test_a_system_turn_and_earlier_turns_make_a_conversation(tmp_path: Path) -> None:
    assert prompts(tmp_path, {"prompt": "a", "system": "be brief"}) == [
        (Message("system", "be brief"), Message("user", "a"))
    ]
    assert prompts(tmp_path, {"prompt": "\n\nHuman: a\n\nAssistant: b\n\nHuman: c\n\nAssistant:"}) == [
        (Message("user", "a"), Message("assistant", "b"), Message("user", "c"))
    ]
    assert prompts(tmp_path, {"prompt": [USER, ANSWER, USER]}) == [
        (Message("user", "hello"), Message("assistant", "hi"), Message("user", "hello"))
    ]


def test_messages_win_and_their_answer_is_left_off(tmp_path: Path) -> None:
    path = written(tmp_path, {"prompt": "hello", "messages": [USER, ANSWER]}, {"messages": [USER]})
    rows, counts = read_prompts(path)
    assert [row.prompt for row in rows] == [(Message("user", "hello"),)] * 2
    assert counts.notes == {ANSWER_LEFT_OFF: 1}
    assert [row.instruction for row in rows] == ["hello", "hello"]


def test_every_row_is_kept_or_dropped_with_a_reason(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        {"messages": [USER]},
        {"messages": []},
        {"messages": "hello"},
        {"messages": [ANSWER]},
        {"messages": [USER, ANSWER, ANSWER]},
        {"messages": [{"role": "user", "content": "\ud800"}]},
    )
    rows, counts = read_prompts(path)
    assert len(rows) == counts.kept == 1
    assert counts.dropped.total() == 5
    assert counts.dropped[NOT_THE_USERS] == 2
    assert counts.read == 6


def test_what_has_no_prompts_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no column with prompts; there are text"):
        read_prompts(written(tmp_path, {"text": "a"}))
    with pytest.raises(DataError, match="not one of 1 rows has a usable prompt: 1 no value for `prompt`"):
        read_prompts(written(tmp_path, {"prompt": ""}))


def test_parquet_is_read_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"prompt": ["a", "b"], "dataset": ["x", None]}), tmp_path / "p.parquet")
    rows, _ = read_prompts(tmp_path / "p.parquet")
    assert [(row.prompt, row.dataset) for row in rows] == [("a", "x"), ("b", None)]


@needs_shared
def test_alpaca_evals_files_are_prompts() -> None:
    name = "phi-2-sft.weighted_alpaca_eval_gpt4_turbo.json"
    rows, counts = read_prompts(SHARED / "data/alpaca_eval/published" / name)
    assert counts.read == len(rows) > 700
    assert all(isinstance(row.prompt, str) for row in rows)
