from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from orpo.doctor.table import as_table, contents, percent, summary
from orpo.statistics.rates import Rate
from tests.unit.doctor.reports import hostile_report


def printed(width: int = 100) -> str:
    console = Console(file=io.StringIO(), width=width, highlight=False)
    console.print(as_table(hostile_report()))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_says_what_where_how_many_and_what_to_do() -> None:
    text = printed()
    assert "FATAL bad_thing (train): 1 of 3" in text
    assert "something bad" in text
    assert "→ Mend it." in text
    assert "4 rows read, 3 kept" in text
    assert "needs a model: other_check, third_check" in text
    assert text.index("FATAL") < text.index("NOTE")


def test_hostile_text_is_printed_as_it_is_spelled() -> None:
    text = printed(width=400)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "\x00" not in text
    assert "[bold]x[/bold]" in text


def test_severities_are_words_so_that_colours_are_not_needed() -> None:
    report = hostile_report()
    assert summary(report) == "1 fatal, 1 note"
    assert summary(replace(report, findings=report.findings * 2)) == "2 fatal, 2 notes"
    assert summary(replace(report, findings=())) == "none"


@pytest.mark.parametrize(
    ("pairs", "singles", "expected"),
    [
        (3, 0, "3 pairs"),
        (3, 2, "3 pairs, 2 single responses"),
        (0, 2, "2 single responses"),
    ],
)
def test_the_number_of_examples_of_each_kind_is_said(pairs: int, singles: int, expected: str) -> None:
    part = replace(hostile_report().parts[0], pairs=pairs, singles=singles)
    assert contents(part) == expected
    console = Console(file=io.StringIO(), width=100)
    console.print(as_table(replace(hostile_report(), parts=(part,))))
    assert isinstance(console.file, io.StringIO)
    text = console.file.getvalue()
    assert f"train: {expected}\n" in text
    assert ("the longer response is the chosen one" in text) is (pairs > 0)


def test_a_rate_comes_with_its_interval_and_number() -> None:
    assert percent(Rate(8, 10)) == "80.0% (49.0% to 94.3%) of 10"
