from __future__ import annotations

import json

from orpo.preview.record import as_record
from tests.unit.preview.previews import HOSTILE, TRL, Texts, preview_of

PREVIEW = preview_of(Texts("Hé", "Yo", "No", weight=2.0, cut=True), Texts("H", None, "N"), objective=TRL)


def test_the_record_has_every_token_with_its_place_and_terms() -> None:
    first, second = as_record(PREVIEW)["examples"]
    assert first["where"] == "rows.jsonl:1"
    assert first["weight"] == 2.0
    assert first["cut"] == ["chosen", "rejected"]
    keys = ("text", "segment", "in_nll", "in_preference", "position", "row", "column")
    assert [tuple(token[key] for key in keys) for token in first["tokens"]] == [
        ("H", "prompt", False, False, 0, 0, 0),
        ("é", "prompt", True, False, 1, 0, 1),
        (None, "prompt", True, False, 2, 0, 2),
        ("Y", "chosen", True, True, 3, 0, 3),
        ("o", "chosen", True, True, 4, 0, 4),
        ("N", "rejected", False, True, 3, 0, 5),
        ("o", "rejected", False, True, 4, 0, 6),
    ]
    assert [(token["id"], token["special"]) for token in second["tokens"]][-1] == (2, True)
    assert not any(token["in_nll"] or token["in_preference"] for token in second["tokens"])
    assert second["cut"] == []


def test_the_record_has_the_account() -> None:
    record = as_record(PREVIEW)
    assert record["version"] == 1
    assert record["settings"]["objective"] == {"name": "orpo", "definition": "trl", "lambda": 0.1}
    assert record["settings"]["layout"] == "shared"
    assert record["split"] == {
        "name": "train",
        "pairs": 1,
        "singles": 1,
        "tokens": {"prompt": 4, "chosen": 2, "rejected": 4},
    }
    assert record["micro_batch"] == {
        "rows": 1,
        "columns": 10,
        "tokens": 10,
        "padding": 0,
        "scored": 8,
        "in_nll": 4,
        "in_preference": 4,
    }


def test_the_record_is_json_that_no_terminal_obeys() -> None:
    text = json.dumps(as_record(preview_of(Texts(HOSTILE, "Yo", "No", where=HOSTILE))))
    assert text.isascii()
    assert text.isprintable()
    assert json.loads(text)["examples"][0]["where"] == HOSTILE
