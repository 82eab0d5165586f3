from __future__ import annotations

import pytest

from orpo.data.conditions import parse_conditions
from orpo.data.pairs import EMPTY_RESPONSE, RowCounts
from orpo.data.rows import Row
from orpo.data.schemas.base import BELOW_MARGIN, TIE
from orpo.data.shapes import IDENTICAL
from orpo.doctor.findings import Severity
from orpo.doctor.reading import dropped_by_fault, dropped_rows, too_many_dropped, unreadable
from orpo.errors import DataError


def test_every_reason_is_a_finding_with_its_first_row() -> None:
    counts = RowCounts(read=10, kept=7)
    for reason, where in [(IDENTICAL, "f:3"), (EMPTY_RESPONSE, "f:4"), (IDENTICAL, "f:5")]:
        counts.drop(reason, where)
    first, second = dropped_rows("train", counts)
    assert (first.problem.name, first.count, first.total) == ("dropped_identical_responses", 2, 10)
    assert [row.where for row in first.examples] == ["f:3"]
    assert (second.problem.name, second.count) == ("dropped_empty_response", 1)
    assert first.problem.advice != second.problem.advice


def test_ties_and_what_was_asked_for_are_notes_and_no_fault() -> None:
    (condition,) = parse_conditions({"score": ">= 2"}, [Row("f:1", {"score": 1})], "f")
    counts = RowCounts(read=4)
    for reason in (TIE, BELOW_MARGIN, condition.reason, IDENTICAL):
        counts.drop(reason, "f:1")
    severities = {
        finding.problem.title: finding.problem.severity for finding in dropped_rows("train", counts)
    }
    assert list(severities.values()).count(Severity.NOTE) == 3
    assert severities[f"dropped: {IDENTICAL}"] is Severity.WARNING
    assert dropped_by_fault(counts) == 1


def test_a_reason_that_quotes_the_data_is_harmless() -> None:
    counts = RowCounts(read=1)
    counts.drop("no value for `\x1b[31m`", "f:1")
    (finding,) = dropped_rows("train", counts)
    assert "\x1b" not in finding.problem.title + finding.problem.name


@pytest.mark.parametrize(("dropped", "is_fatal"), [(0, False), (2, False), (3, True), (10, True)])
def test_more_than_the_limit_is_fatal(dropped: int, is_fatal: bool) -> None:
    findings = too_many_dropped("train", dropped, 10, 0.2)
    assert [finding.problem.severity for finding in findings] == [Severity.FATAL] * is_fatal


def test_with_a_limit_of_nothing_one_row_is_too_many() -> None:
    assert too_many_dropped("train", 0, 10, 0.0) == []
    assert too_many_dropped("train", 1, 10, 0.0) != []


def test_what_cannot_be_read_is_fatal_and_says_where_and_what_to_do() -> None:
    finding = unreadable("eval", DataError("a.jsonl:3: not JSON\x1b", hint="Mend it."))
    assert finding.problem.severity is Severity.FATAL
    assert finding.problem.advice == "Mend it."
    assert [row.text for row in finding.examples] == ["a.jsonl:3: not JSON�"]
