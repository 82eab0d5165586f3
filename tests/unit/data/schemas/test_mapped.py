"""The `columns` of a source: what they mean, and what is said about wrong ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.errors import ConfigError
from tests.preferences import assistant, load, pairs_of, singles_of, system, texts, turns, user

PAIR = {"question": "q", "good": "yes", "bad": "no", "sys": "s"}
LABELLED = {"question": "q", "a": "one", "b": "two", "label": 1}
RANKED = {
    "question": "q",
    "outs": [{"t": "so", "s": 2, "r": 2}, {"t": "yes", "s": 3, "r": 1}, {"t": "no", "s": 1, "r": 3}],
}


@pytest.mark.parametrize(
    ("columns", "prompt"),
    [
        ({"prompt": "question"}, "q"),
        ({"messages": "question"}, turns(user("q"))),
        ({"prompt": "question", "system": "sys"}, turns(system("s"), user("q"))),
        ({"messages": "question", "system": "sys"}, turns(system("s"), user("q"))),
    ],
)
def test_chosen_and_rejected_by_other_names(columns: dict[str, str], prompt: Any, tmp_path: Path) -> None:
    table = load(tmp_path, [PAIR], columns=columns | {"chosen": "good", "rejected": "bad"})
    assert [(pair.prompt, pair.chosen, pair.rejected) for pair in pairs_of(table)] == [(prompt, "yes", "no")]
    assert table.sources[0].detected == "columns (as the source's `columns` say)"
    assert set(table.sources[0].unused_columns) == {"question", "good", "bad", "sys"} - {
        "good",
        "bad",
        *columns.values(),
    }


def test_messages_under_other_names_need_no_prompt(tmp_path: Path) -> None:
    row = {"good": [user("q"), assistant("yes")], "bad": [user("q"), assistant("no")]}
    (pair,) = pairs_of(load(tmp_path, [row], columns={"chosen": "good", "rejected": "bad"}))
    assert (pair.prompt, pair.chosen) == (turns(user("q")), "yes")


def test_a_prompt_of_text_before_messages_is_the_users_turn(tmp_path: Path) -> None:
    row = {"prompt": "q", "good": [assistant("yes")], "bad": [assistant("no")]}
    (pair,) = load(tmp_path, [row], columns={"prompt": "prompt", "chosen": "good", "rejected": "bad"})
    assert pair.prompt == turns(user("q"))


def test_a_map_overrides_what_would_be_detected(tmp_path: Path) -> None:
    row = {"prompt": "p", "other": "q", "chosen": "a", "rejected": "b"}
    columns = {"messages": "other", "chosen": "rejected", "rejected": "chosen"}
    table = load(tmp_path, [row], columns=columns)
    assert (table[0].prompt, *texts(table)) == (turns(user("q")), ("b", "a"))


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (1, [("one", "two")]),
        ("1", [("one", "two")]),
        (0.0, [("two", "one")]),
        (2, "tie"),
        (3, "not understood"),
    ],
)
def test_responses_with_a_label(label: Any, expected: Any, tmp_path: Path) -> None:
    columns = {
        "prompt": "question",
        "responses": ["a", "b"],
        "preferred": "label",
        "values": {"1": 0, "0": 1, "2": "tie"},
    }
    table = load(tmp_path, [LABELLED, LABELLED | {"label": label}], columns=columns)
    assert table[0].prompt == turns(user("q"))
    assert texts(table)[1:] == (expected if isinstance(expected, list) else [])
    if isinstance(expected, str):
        (reason,) = table.counts.dropped
        assert expected in reason


def test_several_columns_of_votes(tmp_path: Path) -> None:
    row = {"question": "q", "a": "one", "b": "two", "x": True, "y": "false", "z": False}
    columns = {
        "messages": "question",
        "responses": ["a", "b"],
        "preferred": ["x", "y", "z"],
        "values": {"true": 0, "false": 1},
    }
    assert texts(load(tmp_path, [row], columns=columns)) == [("two", "one")]


@pytest.mark.parametrize("order", [{"score": "s"}, {"rank": "r"}])
def test_candidates_with_a_score_or_a_rank(order: dict[str, str], tmp_path: Path) -> None:
    columns = {"prompt": "question", "candidates": "outs", "text": "t"} | order
    table = load(tmp_path, [RANKED], columns=columns)
    assert (table[0].prompt, *texts(table)) == (turns(user("q")), ("yes", "no"))
    assert len(load(tmp_path, [RANKED], columns=columns, policy="all-above-margin")) == 3


@pytest.mark.parametrize(
    ("columns", "prompt"),
    [
        ({"prompt": "question"}, "q"),
        ({"messages": "question"}, turns(user("q"))),
        ({"prompt": "question", "system": "sys"}, turns(system("s"), user("q"))),
    ],
)
def test_a_response_alone_is_one_to_imitate(columns: dict[str, str], prompt: Any, tmp_path: Path) -> None:
    table = load(tmp_path, [PAIR], columns=columns | {"response": "good"})
    assert [(one.prompt, one.response, one.is_desirable) for one in singles_of(table)] == [
        (prompt, "yes", True)
    ]
    assert "bad" in table.sources[0].unused_columns


def test_a_conversation_may_be_the_response(tmp_path: Path) -> None:
    row = {"talk": [user("q"), assistant("a"), user("r"), assistant("yes")], "label": "sports"}
    (single,) = singles_of(load(tmp_path, [row], columns={"response": "talk"}))
    assert (single.prompt, single.response) == (turns(user("q"), assistant("a"), user("r")), "yes")


def test_a_response_with_a_label_is_paired_where_a_prompt_has_both(tmp_path: Path) -> None:
    labels = (True, 0, "1", "false", 7)
    rows = [{"q": "a", "r": f"r{number}", "good": label} for number, label in enumerate(labels)]
    table = load(tmp_path, rows, columns={"messages": "q", "response": "r", "label": "good"})
    assert texts(table) == [("r0", "r1"), ("r2", "r3")]
    assert table.counts.dropped == {"label not understood in `good`": 1}


FORM = {"prompt": "question", "responses": ["a", "b"], "preferred": "label", "values": {"1": 0, "2": 1}}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({}, "expected the keys of one form, got nothing"),
        ({"prompt": "question"}, "expected the keys of one form, got `prompt`"),
        ({"chosen": "a", "candidates": "b"}, "expected the keys of one form, got `chosen`, `candidates`"),
        ({"prompt": "question", "chosen": "a"}, "`rejected` is missing beside `chosen`"),
        ({"candidates": "a", "text": "t"}, "`score or rank` is missing beside `candidates`"),
        ({"prompt": "question", "label": "label"}, "`response` is missing beside `label`"),
        ({"response": "a", "rejected": "b"}, "expected the keys of one form, got `response`, `rejected`"),
        ({"response": "a", "label": 7}, "`label`: expected a name, got 7"),
        (FORM | {"values": None}, "`values` is missing beside `responses`"),
        (FORM | {"messages": "question"}, "`prompt` and `messages` exclude each other"),
        (FORM | {"reponse": "a"}, "`reponse` is not one of the keys"),
        (FORM | {"responses": ["a"]}, "`responses`: expected a list of two columns"),
        (FORM | {"responses": "ab"}, "`responses`: expected a list of two columns"),
        (FORM | {"values": {"1": 2}}, "`values`: '1': expected 0, 1 or tie, got 2"),
        (FORM | {"values": {"1": True}}, "`values`: '1': expected 0, 1 or tie, got True"),
        (FORM | {"values": {}}, "`values`: expected a mapping from labels"),
        (FORM | {"preferred": []}, "`preferred`: expected a column or a list of columns"),
        (FORM | {"prompt": 7}, "`prompt`: expected a name, got 7"),
        (
            FORM | {"preferred": "lable"},
            "`preferred`: there is no column 'lable'; did you mean 'label'? there are: question, a, b, label",
        ),
    ],
)
def test_a_wrong_map_is_one_clear_message(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, [LABELLED], columns=columns)
    assert message in caught.value.message
    assert "rows.jsonl: `columns` is wrong:" in caught.value.message
    assert "{prompt, chosen, rejected}" in str(caught.value.hint)


def test_everything_that_is_wrong_with_the_columns_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, [LABELLED], columns=FORM | {"prompt": "x", "responses": ["y", "b"]})
    assert len(caught.value.message.splitlines()) == 3


def test_missing_keys_of_candidates_are_named_with_those_that_are_there(tmp_path: Path) -> None:
    columns = {"prompt": "question", "candidates": "outs", "text": "t", "score": "points"}
    with pytest.raises(ConfigError, match="no 'points' in the objects of 'outs'; there are: t, s, r"):
        load(tmp_path, [RANKED], columns=columns)
