from __future__ import annotations

from typing import Any

import pytest

from orpo.batch import Rows
from orpo.config import parse_config
from orpo.data import SourceSpec
from orpo.doctor.request import Request, request_for_config, request_for_source
from orpo.objectives import OBJECTIVES


def request(objective: str = "orpo", **data: Any) -> Request:
    config = {
        "model": {"name": "owner/model", "revision": "main"},
        "data": {"train": "a.jsonl", **data},
        "objective": {"name": objective},
        "training": {"seed": 7},
        "output": "runs/x",
    }
    return request_for_config(parse_config(config).config, max_dropped=0.1)


def test_a_config_is_examined_as_training_would_read_it() -> None:
    found = request(eval=["b.jsonl", "c.jsonl"], template="chatml", max_length=64, truncation="drop")
    assert found == Request(
        train=(SourceSpec("a.jsonl"),),
        eval=(SourceSpec("b.jsonl"), SourceSpec("c.jsonl")),
        seed=7,
        model="owner/model",
        revision="main",
        template="chatml",
        truncation="drop",
        max_length=64,
        max_dropped=0.1,
    )


def test_a_fraction_stays_a_fraction_and_auto_is_left_open() -> None:
    found = request(eval=0.25)
    assert found.eval == 0.25
    assert found.max_length == "auto"


def test_a_source_is_examined_as_training_pairs() -> None:
    assert request_for_source("a.jsonl", max_dropped=0.2) == Request(
        train=(SourceSpec("a.jsonl"),), max_dropped=0.2
    )


@pytest.mark.parametrize("name", OBJECTIVES)
def test_responses_without_a_counterpart_are_kept_where_the_objective_takes_them(name: str) -> None:
    assert request(name).keep_unpaired is (OBJECTIVES[name].rows is Rows.RESPONSES)
