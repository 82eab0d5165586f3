"""One response and its label: pairs where a prompt has both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.data.pairs import Pair, Single
from orpo.data.read import read_examples
from orpo.data.spec import SourceSpec
from orpo.errors import DataError
from tests.datafiles import write_rows
from tests.preferences import assistant, load, pairs_of, system, texts, turns, user

UNPAIRED = "unpaired: needs an objective that takes them"


def kto(prompt: Any, completion: Any, label: Any) -> dict[str, Any]:
    return {"prompt": prompt, "completion": completion, "label": label}


def test_the_first_good_response_meets_the_first_bad_one_and_the_rest_is_counted(tmp_path: Path) -> None:
    rows = [
        kto("q", "good 1", True),
        kto("r", "lonely", False),
        kto("q", "good 2", True),
        kto("q", "bad 1", False),
        kto("q", "good 3", True),
        kto("q", "bad 2", False),
    ]
    table = load(tmp_path, rows)
    assert texts(table) == [("good 1", "bad 1"), ("good 2", "bad 2")]
    assert [pair.where[-1] for pair in table] == ["1", "3"]
    assert (table.counts.read, table.counts.kept) == (6, 4)
    assert table.counts.dropped == {UNPAIRED: 2}


def test_prompts_are_the_same_only_with_all_their_turns(tmp_path: Path) -> None:
    rows = [
        kto([user("q")], [assistant("yes")], True),
        kto([system("s"), user("q")], [assistant("no")], False),
        kto([user("q")], assistant("no"), False),
    ]
    (pair,) = pairs_of(load(tmp_path, rows))
    assert (pair.prompt, pair.chosen, pair.rejected) == (turns(user("q")), "yes", "no")


def test_text_stays_text_and_a_system_column_makes_a_chat(tmp_path: Path) -> None:
    rows = [kto("q", " yes", True), kto("q", " no", False)]
    assert load(tmp_path, rows)[0].prompt == "q"
    said = [row | {"system": "s"} for row in rows]
    assert load(tmp_path, said)[0].prompt == turns(system("s"), user("q"))


@pytest.mark.parametrize("messages", ["messages", "conversations"])
def test_conversations_with_a_label_are_split_before_the_last_turn(messages: str, tmp_path: Path) -> None:
    rows = [
        {messages: [{"from": "human", "value": "q"}, {"from": "gpt", "value": text}], "label": label}
        for text, label in (("no", False), ("yes", True))
    ]
    (pair,) = pairs_of(load(tmp_path, rows))
    assert (pair.prompt, pair.chosen, pair.rejected) == (turns(user("q")), "yes", "no")


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (kto("q", "x", "perhaps"), "label not understood in `label`"),
        (kto("q", "x", 7), "label not understood in `label`"),
        (kto("q", "x", None), "no value for `label`"),
        (kto(None, "x", True), "no value for `prompt`"),
        (kto("q", None, True), "no value for `completion`"),
        (kto("q", 7, True), "text that is not a string"),
    ],
)
def test_rows_that_are_not_understood_are_counted(row: dict[str, Any], reason: str, tmp_path: Path) -> None:
    table = load(tmp_path, [kto("q", "a", True), kto("q", "b", "False"), row])
    assert texts(table) == [("a", "b")]
    assert table.counts.dropped == {reason: 1}


def test_both_rows_of_a_pair_that_teaches_nothing_are_dropped(tmp_path: Path) -> None:
    rows = [kto("q", "a", True), kto("q", "b", False), kto("r", "same", True), kto("r", "same", False)]
    table = load(tmp_path, rows)
    assert (table.counts.kept, table.counts.dropped) == (2, {"identical responses": 2})


LEFT_OVER = [
    kto("q", "good 1", True),
    kto("r", "lonely", False),
    kto("q", "bad 1", False),
    kto("q", "good 2", True),
    kto("s", " ", True),
    kto("t", "only", True),
]


def test_responses_without_a_counterpart_are_kept_where_they_are_wanted(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "rows.jsonl", LEFT_OVER)
    table = read_examples([SourceSpec(str(path))], role="train", keep_unpaired=True)
    assert list(table) == [
        Pair("q", "good 1", "bad 1", f"{path}:1"),
        Single("q", "good 2", is_desirable=True, where=f"{path}:4"),
        Single("r", "lonely", is_desirable=False, where=f"{path}:2"),
        Single("t", "only", is_desirable=True, where=f"{path}:6"),
    ]
    assert (table.counts.read, table.counts.kept) == (6, 5)
    assert table.counts.dropped == {"empty response": 1}


def test_they_are_dropped_with_a_reason_where_they_are_not(tmp_path: Path) -> None:
    table = load(tmp_path, LEFT_OVER)
    assert texts(table) == [("good 1", "bad 1")]
    assert (table.counts.read, table.counts.kept, table.counts.dropped) == (6, 2, {UNPAIRED: 4})


def test_numbers_are_labels_only_where_the_column_is_named_as_one(tmp_path: Path) -> None:
    rows = [kto("q", "yes", 1), kto("q", "no", "0")]
    with pytest.raises(DataError, match="the columns do not make preference pairs"):
        load(tmp_path, rows)
    columns = {"prompt": "prompt", "response": "completion", "label": "label"}
    assert texts(load(tmp_path, rows, columns=columns)) == [("yes", "no")]


def test_no_prompt_with_both_labels_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"2 {UNPAIRED}"):
        load(tmp_path, [kto("q", "a", True), kto("r", "b", False)])
