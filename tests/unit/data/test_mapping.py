"""The map that is suggested for other columns: it has to be YAML that works once it is filled in."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from orpo.data.mapping import mapping_hint
from orpo.data.read import read_examples
from orpo.data.rows import Row
from orpo.data.spec import SourceSpec
from orpo.errors import ConfigError, DataError
from tests.preferences import load, texts, turns, user


def suggested(text: str) -> dict[str, Any]:
    """The source that a hint suggests."""
    introduction, config, rest = text.split("\n\n")
    assert introduction.startswith("Say which columns hold what")
    assert "open_source" in rest
    (source,) = YAML(typ="safe", pure=True).load(io.StringIO(config))["data"].values()
    return source


def hint(*rows: dict[str, Any]) -> dict[str, Any]:
    return suggested(mapping_hint([Row("a.jsonl:1", row) for row in rows], SourceSpec("a.jsonl")))["columns"]


def refused(folder: Path, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """The columns suggested for a file that is not understood."""
    with pytest.raises(DataError) as caught:
        load(folder, rows)
    source = suggested(str(caught.value.hint))
    assert source["path"] == str(folder / "rows.jsonl")
    return source["columns"]


def test_other_names_are_mapped(tmp_path: Path) -> None:
    rows = [{"question": "q", "accepted": "a", "worse": "b"}]
    columns = refused(tmp_path, rows)
    assert columns == {"messages": "question", "chosen": "accepted", "rejected": "worse"}
    table = load(tmp_path, rows, columns=columns)
    assert (table[0].prompt, *texts(table)) == (turns(user("q")), ("a", "b"))


def test_labels_that_end_the_names_of_responses_are_understood(tmp_path: Path) -> None:
    rows = [{"query": "q", "answer_1": "a", "answer_2": "b", "winner": winner} for winner in (1, 2)]
    columns = refused(tmp_path, rows)
    assert columns["values"] == {"1": 0, "2": 1}
    assert texts(load(tmp_path, rows, columns=columns)) == [("a", "b"), ("b", "a")]


def test_other_labels_are_listed_for_the_reader_to_fill_in(tmp_path: Path) -> None:
    rows = [
        {"prompt": "q", "output_a": "a", "output_b": "b", "label": label} for label in ("left", "right", "=")
    ]
    columns = refused(tmp_path, rows)
    assert columns["values"] == dict.fromkeys(["=", "left", "right"], "FILL_IN")
    with pytest.raises(ConfigError, match="expected 0, 1 or tie, got 'FILL_IN'"):
        load(tmp_path, rows, columns=columns)
    columns["values"] = {"=": "tie", "left": 0, "right": 1}
    assert texts(load(tmp_path, rows, columns=columns)) == [("a", "b"), ("b", "a")]


@pytest.mark.parametrize(("key", "order"), [("score", "score"), ("rating", "score"), ("rank", "rank")])
def test_a_list_of_responses_with_scores_is_mapped(key: str, order: str, tmp_path: Path) -> None:
    rows = [{"prompt": "q", "outputs": [{"text": "a", key: 1}, {"text": "b", key: 2}]}]
    columns = refused(tmp_path, rows)
    assert columns == {"messages": "prompt", "candidates": "outputs", "text": "text", order: key}
    assert len(load(tmp_path, rows, columns=columns)) == 1


@pytest.mark.parametrize(
    ("values", "missing"),
    [
        ({"post": "q", "good": "a", "bad": "b"}, ["messages", "chosen", "rejected"]),
        ({"prompt": "q", "response 0": "a", "response 1": "b"}, ["preferred"]),
    ],
)
def test_what_names_do_not_tell_is_left_to_the_reader(
    values: dict[str, Any], missing: list[str], tmp_path: Path
) -> None:
    columns = refused(tmp_path, [values])
    assert [key for key, value in columns.items() if value == "FILL_IN"] == missing
    with pytest.raises(ConfigError):
        load(tmp_path, [values], columns=columns)


def test_more_labels_than_a_reader_would_fill_in_are_not_listed() -> None:
    rows = [{"prompt": "q", "output_1": "a", "output_2": "b", "preference": i / 10} for i in range(12)]
    assert hint(*rows)["values"] == {"FILL_IN": 0, "FILL_IN_2": 1}


@pytest.mark.parametrize("name", ["response 1", "true", "a: b", "# x", "é\n", "1"])
def test_any_name_is_yaml(name: str) -> None:
    text = mapping_hint([Row("row 1", {"x": 1})], SourceSpec(name, config=name, data_dir=name, split="s"))
    assert suggested(text) | {"columns": None} == {
        "path": name,
        "config": name,
        "data_dir": name,
        "split": "s",
        "columns": None,
    }


def test_the_map_is_for_the_role_of_the_source() -> None:
    assert "data:\n  eval:\n    path: a.csv\n" in mapping_hint(
        [Row("r", {"a": 1})], SourceSpec("a.csv"), "eval"
    )


def test_rows_in_memory_take_the_map_of_the_source_that_they_replace() -> None:
    with pytest.raises(DataError) as caught:
        read_examples([[{"question": "q", "accepted": "a", "worse": "b"}]], role="train")
    hint = str(caught.value.hint)
    assert "in the config, for the source that the rows replace;" in hint
    assert suggested(hint)["columns"] == {"messages": "question", "chosen": "accepted", "rejected": "worse"}


@pytest.mark.parametrize(
    ("values", "columns"),
    [
        ({"prompt": "q", "response": "a", "stars": 4, "score": 4}, {"response": "response"}),
        ({"prompt": "q", "completion": "a", "label": 1}, {"response": "completion", "label": "label"}),
        ({"prompt": "q", "output": "a", "kto_tag": True}, {"response": "output", "label": "kto_tag"}),
        ({"prompt": "q", "answer": "a", "model_answer": "b"}, {"response": "answer"}),
    ],
)
def test_a_response_beside_what_may_be_a_judgement_is_mapped_with_a_question(
    values: dict[str, Any], columns: dict[str, str], tmp_path: Path
) -> None:
    text = mapping_hint([Row("a.jsonl:1", values)], SourceSpec("a.jsonl"))
    assert suggested(text)["columns"] == {"messages": "prompt", **columns}
    others = values.keys() - {"prompt", "stars", *columns.values()}
    assert "if it is the only one" in text
    assert all(f'"{other}" may be another, or a judgement' in text for other in others)
    assert refused(tmp_path, [values]) == {"messages": "prompt", **columns}


def test_a_response_beside_a_chosen_or_a_rejected_one_is_not_suggested() -> None:
    values = {"prompt": "q", "response": "a", "rejected": 7}
    assert hint(values) == {"messages": "prompt", "chosen": "FILL_IN", "rejected": "rejected"}


def test_columns_with_the_right_names_get_no_map() -> None:
    assert mapping_hint([Row("r", {"chosen": "a", "rejected": "b"})], SourceSpec("a.csv")) == (
        "The names fit, the values do not: make them text or lists of {role, content} messages. "
        "Text that is no transcript needs a `prompt` column."
    )
