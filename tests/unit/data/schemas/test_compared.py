"""Two responses and a label, in each data set's own convention."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.data.pairs import UnusableRowError
from orpo.data.schemas.compared import Labels, Scale, labels
from orpo.errors import DataError
from tests.preferences import assistant, load, texts, user

HELPSTEER = {"context": [user("q")], "response1": "one", "response2": "two"}
SHP = {"history": "q", "human_ref_A": "one", "human_ref_B": "two"}
ALPACA_EVAL = {"instruction": "q", "output_1": "one", "output_2": "two"}
AUTO_J = {"prompt": "q", "response 1": "one", "response 2": "two"}
BATTLE = {
    "conversation_a": [user("q"), assistant("one")],
    "conversation_b": [user("q"), assistant("two")],
}
SAFE_RLHF = {"prompt": "q", "response_0": "one", "response_1": "two"}

ONE, TWO = [("one", "two")], [("two", "one")]
Texts = list[tuple[str, str]]


@pytest.mark.parametrize(
    ("row", "column", "expected"),
    [
        (HELPSTEER, "overall_preference", {-3: ONE, -1: ONE, 0: [], 1: TWO, 3: TWO}),
        (SHP, "labels", {1: ONE, 0: TWO}),
        (ALPACA_EVAL, "preference", {1: ONE, 1.2: ONE, 1.5: [], 0: [], 1.8: TWO, 2: TWO}),
        (AUTO_J, "label", {0: ONE, 1: TWO, 2: []}),
        (
            BATTLE,
            "winner",
            {"model_a": ONE, "model_b": TWO, "tie": [], "both_bad": [], "tie (bothbad)": []},
        ),
    ],
    ids=["HelpSteer3", "SHP", "AlpacaEval", "Auto-J", "arena"],
)
def test_labels_mean_what_the_data_set_says(
    row: dict[str, Any], column: str, expected: dict[Any, Texts], tmp_path: Path
) -> None:
    rows = [row | {column: label} for label in expected]
    table = load(tmp_path, rows)
    assert texts(table) == [pair for pairs in expected.values() for pair in pairs]
    ties = sum(pairs == [] for pairs in expected.values())
    assert table.counts.dropped == ({"tie": ties} if ties else {})


@pytest.mark.parametrize("label", ["9", -100, 2.5, "yes", [1], True, {}])
def test_a_label_outside_the_convention_is_counted_and_never_read_as_a_preference(
    label: Any, tmp_path: Path
) -> None:
    table = load(tmp_path, [ALPACA_EVAL | {"preference": 1}, ALPACA_EVAL | {"preference": label}])
    assert table.counts.dropped == {"label not understood in `preference`": 1}


def test_a_missing_label_is_counted(tmp_path: Path) -> None:
    for row, label in (
        (ALPACA_EVAL | {"preference": None}, "preference"),
        (SHP | {"labels": None}, "labels"),
    ):
        table = load(tmp_path, [row | {label: 1}, row])
        assert table.counts.dropped == {f"no value for `{label}`": 1}


def test_labels_of_a_csv_file_are_text_and_mean_the_same(tmp_path: Path) -> None:
    rows = [ALPACA_EVAL | {"preference": "1.0"}, ALPACA_EVAL | {"preference": "2"}]
    assert texts(load(tmp_path, rows)) == ONE + TWO
    assert texts(load(tmp_path, [SHP | {"labels": "1"}, SHP | {"labels": " 0.0"}])) == ONE + TWO


@pytest.mark.parametrize(
    ("votes", "expected"),
    [((1, 1, 2), ONE), ((2, 0, 2), TWO), ((0, 0, 1), "tie"), ((0, 1, 2), "no majority among the votes")],
)
def test_the_majority_of_three_decides(votes: tuple[int, ...], expected: Any, tmp_path: Path) -> None:
    row = {"instruction": "q", "input": "", "response1": "one", "response2": "two"}
    sure = row | {"annotator1": 1, "annotator2": 1, "annotator3": 1}
    table = load(tmp_path, [sure, row | {f"annotator{i}": vote for i, vote in enumerate(votes, 1)}])
    assert texts(table) == ONE + (expected if isinstance(expected, list) else [])
    assert table.counts.dropped == ({} if isinstance(expected, list) else {expected: 1})


def test_a_column_of_votes_counts_those_that_were_cast() -> None:
    judge = labels("votes", first="a", second="b", ties=["tie"])
    assert judge({"votes": ["a", None, "A", "b"]}) < 0 < judge({"votes": ["b"]})
    for votes, reason in (
        (["a", "b"], "no majority among the votes"),
        ([None], "no value for `votes`"),
        ([], "no value for `votes`"),
        (["a", "c"], "label not understood in `votes`"),
    ):
        with pytest.raises(UnusableRowError, match=reason):
            judge({"votes": votes})


def test_judges_say_which_columns_they_read() -> None:
    assert labels("x", "y", first=1, second=2).columns == ("x", "y")
    assert Labels(("x",), {}).options == frozenset()
    assert Scale("x", -3, 3).columns == ("x",)


def test_graded_labels_can_be_filtered_by_their_distance_from_a_tie_and_are_not_by_default(
    tmp_path: Path,
) -> None:
    rows = [HELPSTEER | {"overall_preference": strength} for strength in (-3, -1, 0, 2)]
    assert load(tmp_path, rows).counts.kept == 3
    table = load(tmp_path, rows, min_margin=2)
    assert table.counts.kept == 2
    assert table.counts.dropped == {"difference below min_margin": 1, "tie": 1}


@pytest.mark.parametrize(("criterion", "expected"), [("better", ONE), ("safer", TWO)])
def test_two_criteria_are_a_choice(criterion: str, expected: Texts, tmp_path: Path) -> None:
    row = SAFE_RLHF | {"better_response_id": 0, "safer_response_id": 1}
    table = load(tmp_path, [row], criterion=criterion)
    assert texts(table) == expected
    assert table.sources[0].detected == f"PKU-SafeRLHF (A/B with two labels), {criterion}"


def test_two_criteria_without_a_choice_are_an_error_that_names_both_and_the_line_to_write(
    tmp_path: Path,
) -> None:
    row = SAFE_RLHF | {"better_response_id": 0, "safer_response_id": 1}
    with pytest.raises(DataError, match="`better`, `safer`") as caught:
        load(tmp_path, [row])
    assert caught.value.exit_code == 3
    assert f"{{path: {tmp_path}/rows.jsonl, criterion: better}}" in str(caught.value.hint)
    assert "data.train.criterion=better" in str(caught.value.hint)


def test_an_arena_battle_that_went_on_differently_has_no_common_prompt(tmp_path: Path) -> None:
    longer = {
        "conversation_a": [user("q"), assistant("one"), user("more"), assistant("x")],
        "conversation_b": [user("q"), assistant("two"), user("more"), assistant("y")],
        "winner": "model_a",
    }
    table = load(tmp_path, [longer | {"turn": 1}, longer | {"turn": 2}])
    assert texts(table) == ONE
    assert table.counts.dropped == {"prompts differ before the last turn": 1}


@pytest.mark.parametrize("states", [None, [], [{}, {}], [{"messages": [1]}] * 2, [{"messages": 1}] * 2, "ab"])
def test_a_line_of_a_log_that_is_no_vote_is_counted(states: Any, tmp_path: Path) -> None:
    vote = {
        "type": "leftvote",
        "models": ["m", "n"],
        "states": [{"messages": [["U", "q"], ["A", text]]} for text in ("one", "two")],
    }
    table = load(tmp_path, [vote, vote | {"type": "chat"}, vote | {"states": states}])
    assert texts(table) == ONE
    assert table.counts.dropped["label not understood in `type`"] == 1
    assert sum(table.counts.dropped.values()) == 2


def test_images_in_an_arena_battle_drop_the_row(tmp_path: Path) -> None:
    seen = [user([{"type": "text", "text": "q"}, {"type": "image", "image": "x"}]), assistant("one")]
    good = BATTLE | {"winner": "model_a"}
    table = load(tmp_path, [good, good | {"conversation_a": seen}])
    assert table.counts.dropped == {"content with parts other than text": 1}
