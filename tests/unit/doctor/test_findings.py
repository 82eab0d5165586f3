from __future__ import annotations

from orpo.doctor.findings import MOST_EXAMPLES, Finding, Problem, Severity, example, found, worst_first


def problem(severity: Severity) -> Problem:
    return Problem(f"a_{severity}", severity, "title", "advice")


def test_an_example_is_harmless_and_short() -> None:
    row = example("a\x1b.jsonl:1", "\x1b[31mred\u202e" + "x" * 500)
    assert "\x1b" not in row.where + row.text
    assert "\u202e" not in row.text
    assert len(row.text) == 160


def test_nothing_found_is_no_finding() -> None:
    assert found(problem(Severity.NOTE), "train", [], 10) == []


def test_a_finding_counts_all_and_shows_the_first() -> None:
    hits = [example(f"a:{i}", "x") for i in range(20)]
    (finding,) = found(problem(Severity.NOTE), "train", hits, 30)
    assert (finding.count, finding.total) == (20, 30)
    assert [row.where for row in finding.examples] == [f"a:{i}" for i in range(MOST_EXAMPLES)]


def test_the_worst_comes_first_and_equals_keep_their_order() -> None:
    given = [
        Finding(problem(severity), use, 1, 1, ())
        for use, severity in [("a", Severity.NOTE), ("b", Severity.FATAL), ("c", Severity.NOTE)]
    ]
    assert [finding.use for finding in worst_first(given)] == ["b", "a", "c"]
