from __future__ import annotations

import json

import pytest

from orpo.doctor.record import as_record
from tests.unit.doctor.reports import hostile_report


def test_the_record_is_json_with_everything_in_it() -> None:
    record = json.loads(json.dumps(as_record(hostile_report()), allow_nan=False))
    assert list(record) == ["version", "fatal", "settings", "findings", "not_run", "parts"]
    assert record["fatal"] is True
    assert [(f["check"], f["severity"], f["count"]) for f in record["findings"]] == [
        ("bad_thing", "fatal", 1),
        ("small_thing", "note", 2),
    ]
    part = record["parts"]["train"]
    assert (part["pairs"], part["singles"]) == (3, 0)
    assert part["sources"][0]["read"] == 4
    assert part["lengths"]["chosen"]["max"] == 600
    assert sum(part["lengths"]["chosen"]["histogram"]["counts"]) == 3
    assert part["length_bias"]["share"] == pytest.approx(2 / 3)
    assert part["signal"]["words_at_equal_length"]["trials"] == 0
    assert part["max_lengths"][-1] == {"max_length": 1024, "cut": 0, "emptied": 0, "lost": 0.0}
    assert record["not_run"][0] == {"check": "other_check", "reason": "needs a model"}


def test_the_written_record_obeys_no_terminal() -> None:
    written = json.dumps(as_record(hostile_report()))
    assert written.isascii()
    assert written.isprintable()
