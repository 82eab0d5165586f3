"""Weights and margins that columns give."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orpo.data.pairs import Pair
from orpo.errors import ConfigError
from tests.preferences import load, user

STRINGS = {"prompt": "q", "chosen": "yes", "rejected": "no"}
WEIGHT = {"weight": "w"}


def weights(folder: Path, rows: list[dict[str, Any]], **options: Any) -> list[float]:
    return [example.weight for example in load(folder, rows, **options)]


def test_without_a_word_about_weights_a_column_of_that_name_is_none(tmp_path: Path) -> None:
    table = load(tmp_path, [STRINGS | {"weight": 3}])
    assert table[0].weight == 1.0
    assert table.sources[0].unused_columns == ("weight",)


def test_a_weight_alone_leaves_the_rest_to_the_names_of_the_columns(tmp_path: Path) -> None:
    table = load(tmp_path, [STRINGS | {"w": 3}, STRINGS | {"w": "0.25"}], columns=WEIGHT)
    assert [example.weight for example in table] == [3.0, 0.25]
    (report,) = table.sources
    assert report.schema == "strings"
    assert report.detected.endswith("of `prompt`), weights in `w`")
    assert report.unused_columns == ()


def test_a_weight_goes_with_every_form_of_columns(tmp_path: Path) -> None:
    row = {"q": "a", "x": "one", "y": "two", "v": 1, "w": 2}
    row |= {"list": [{"t": "one", "s": 1}, {"t": "two", "s": 2}]}
    for form in (
        {"chosen": "x", "rejected": "y"},
        {"response": "x"},
        {"responses": ["x", "y"], "preferred": "v", "values": {"1": 0}},
        {"candidates": "list", "text": "t", "score": "s"},
    ):
        assert weights(tmp_path, [row], columns={"messages": "q", **form, **WEIGHT}) == [2.0]


def test_all_pairs_of_a_row_have_its_weight(tmp_path: Path) -> None:
    scored = [{"response": text, "overall_score": score} for score, text in enumerate("abc")]
    row = {"instruction": "q", "completions": scored, "w": 2}
    assert weights(tmp_path, [row], columns=WEIGHT, policy="all-above-margin") == [2.0, 2.0, 2.0]


def test_a_declared_weight_is_not_taken_for_a_judgement(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "response": "yes", "score": 3}] * 2
    table = load(tmp_path, rows, columns={"weight": "score"})
    assert [(example.weight, type(example).__name__) for example in table] == [(3.0, "Single")] * 2
    assert table.counts.dropped == {}


def test_a_column_may_be_both_weight_and_what_a_schema_reads(tmp_path: Path) -> None:
    row = {"instruction": "q", "output_1": "no", "output_2": "yes", "preference": 1.75}
    assert weights(tmp_path, [row], columns={"weight": "preference"}) == [1.75]


@pytest.mark.parametrize(
    ("weight", "reason"),
    [
        (None, "no value for `w`"),
        (float("nan"), "no value for `w`"),
        *(
            (weight, "weight in `w` is no number between 1e-30 and 1e+30")
            for weight in (0, -1, -0.0, float("inf"), "nan", "inf", "much", "", True, [1], {}, 1e-300, 1e300)
        ),
    ],
)
def test_a_row_without_a_usable_weight_is_dropped_with_a_reason(
    weight: Any, reason: str, tmp_path: Path
) -> None:
    table = load(tmp_path, [STRINGS | {"w": 2}, STRINGS | {"w": weight}], columns=WEIGHT)
    assert [example.weight for example in table] == [2.0]
    assert table.counts.dropped == {reason: 1}
    assert table.counts.read == 2


def test_a_bad_row_is_counted_once_and_by_its_own_fault(tmp_path: Path) -> None:
    rows = [STRINGS | {"w": 2}, STRINGS | {"w": 2, "chosen": ""}, STRINGS | {"w": 0, "chosen": ""}]
    counts = load(tmp_path, rows, columns=WEIGHT).counts
    assert (counts.read, counts.kept) == (3, 1)
    assert counts.dropped == {
        "empty response": 1,
        "weight in `w` is no number between 1e-30 and 1e+30": 1,
    }


KTO = {"prompt": "q", "completion": "a", "label": True, "w": 1}
RATED = {"prompt": "q", "response": "a", "w": 1} | dict.fromkeys(
    ("helpfulness", "correctness", "coherence", "complexity", "verbosity"), 3
)


@pytest.mark.parametrize(
    ("row", "options"),
    [
        (KTO, {"columns": WEIGHT}),
        (KTO, {"columns": {"prompt": "prompt", "response": "completion", "label": "label", **WEIGHT}}),
        (RATED, {"columns": WEIGHT, "criterion": "helpfulness"}),
        ({"messages": [user("q")], "label": True, "w": 1}, {"columns": WEIGHT}),
    ],
)
def test_weights_of_rows_that_are_joined_into_pairs_are_refused(
    row: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(ConfigError, match=r"`columns\.weight` has no meaning for .*several rows make a pair"):
        load(tmp_path, [row], **options)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"weight": "ww"}, "`weight`: there is no column 'ww'; did you mean 'w'?"),
        ({"weight": 7}, "`weight`: expected a name, got 7"),
        ({"weight": "w", "prompt": "prompt"}, "expected the keys of one form, got `weight`, `prompt`"),
    ],
)
def test_a_wrong_weight_is_one_clear_message(columns: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, [STRINGS | {"w": 2}], columns=columns)
    assert message in caught.value.message


def margins(folder: Path, rows: list[dict[str, Any]], **options: Any) -> list[float | None]:
    """Of pairs; single responses have none."""
    table = load(folder, rows, **options)
    return [example.margin if isinstance(example, Pair) else None for example in table]


def test_a_column_named_margin_is_one_where_all_rows_have_a_number(tmp_path: Path) -> None:
    table = load(tmp_path, [STRINGS | {"margin": 3}, STRINGS | {"margin": "-0.25"}])
    assert [example.margin for example in table if isinstance(example, Pair)] == [3.0, -0.25]
    (report,) = table.sources
    assert report.detected.endswith("of `prompt`), margins in `margin`")
    assert report.unused_columns == ()


@pytest.mark.parametrize("other", [None, "large", True, float("nan")])
def test_a_column_of_something_else_is_no_margin(other: Any, tmp_path: Path) -> None:
    table = load(tmp_path, [STRINGS | {"margin": 3}, STRINGS | {"margin": other}])
    assert [example.margin for example in table if isinstance(example, Pair)] == [0.0, 0.0]
    assert table.sources[0].unused_columns == ("margin",)


def test_columns_with_a_form_leave_no_margin_to_names(tmp_path: Path) -> None:
    form = {"prompt": "prompt", "chosen": "chosen", "rejected": "rejected"}
    rows = [STRINGS | {"margin": 3}]
    assert margins(tmp_path, rows, columns=form) == [0.0]
    assert margins(tmp_path, rows, columns={**form, "margin": "margin"}) == [3.0]


def test_a_declared_margin_has_any_name_and_another_one_is_not_read(tmp_path: Path) -> None:
    row = STRINGS | {"gap": 2.5, "margin": 3, "w": 2}
    assert margins(tmp_path, [row], columns={"margin": "gap"}) == [2.5]
    table = load(tmp_path, [row], columns={"weight": "w"})
    assert [(table[0].weight, example.margin) for example in table if isinstance(example, Pair)] == [
        (2.0, 3.0)
    ]
    assert table.sources[0].detected.endswith("margins in `margin`, weights in `w`")
    assert margins(tmp_path, [row], columns={"weight": "margin"}) == [0.0]
    assert margins(tmp_path, [row], columns={"weight": "margin", "margin": "margin"}) == [3.0]


def test_all_pairs_of_a_row_have_its_margin_and_single_responses_none(tmp_path: Path) -> None:
    scored = [{"response": text, "overall_score": score} for score, text in enumerate("abc")]
    row = {"instruction": "q", "completions": scored, "margin": 2}
    assert margins(tmp_path, [row], policy="all-above-margin") == [2.0, 2.0, 2.0]
    assert margins(tmp_path, [{"prompt": "q", "response": "a", "margin": 2}]) == [None]


@pytest.mark.parametrize(
    ("margin", "reason"),
    [
        (None, "no value for `gap`"),
        *(
            (margin, "margin in `gap` is no number between -1e+30 and 1e+30")
            for margin in ("big", True, 1e31)
        ),
    ],
)
def test_a_row_without_a_usable_margin_is_dropped_with_a_reason(
    margin: Any, reason: str, tmp_path: Path
) -> None:
    table = load(tmp_path, [STRINGS | {"gap": 2}, STRINGS | {"gap": margin}], columns={"margin": "gap"})
    assert len(table) == 1
    assert table.counts.dropped == {reason: 1}


def test_margins_are_of_pairs_that_one_row_makes(tmp_path: Path) -> None:
    unpaired = KTO | {"margin": 1}
    with pytest.raises(ConfigError, match=r"`columns\.margin` has no meaning for .*several rows make a pair"):
        load(tmp_path, [unpaired], columns={"margin": "margin"})
    pair = [unpaired, unpaired | {"completion": "b", "label": False}]
    assert margins(tmp_path, pair) == [0.0], "by its name alone it is none there"
    with pytest.raises(ConfigError, match="`margin` is not one of the keys"):
        load(tmp_path, [unpaired], columns={"prompt": "prompt", "response": "completion", "margin": "margin"})
