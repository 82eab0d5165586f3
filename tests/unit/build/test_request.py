from __future__ import annotations

from typing import Any

import pytest

from orpo.build.request import (
    Portion,
    Request,
    request_for_config,
    request_for_sources,
    with_fraction,
    with_reading,
)
from orpo.config import parse_config
from orpo.data import SourceSpec
from orpo.errors import ConfigError


def request(**data: Any) -> Request:
    config = {
        "model": "owner/model",
        "data": {"train": "a.jsonl", **data},
        "training": {"seed": 7},
        "output": "runs/x",
    }
    return request_for_config(parse_config(config).config)


def test_sources_are_all_for_training_but_for_a_held_out_fraction() -> None:
    assert request_for_sources(["a.jsonl", "b"]) == Request(
        train=(Portion(SourceSpec("a.jsonl")), Portion(SourceSpec("b"))), eval=0.05, seed=42
    )


def test_a_config_is_read_as_training_would() -> None:
    found = request(
        eval=["b.jsonl"], template="none", train={"path": "a.jsonl", "where": {"x": 1}, "max_rows": 9}
    )
    assert found == Request(
        train=(Portion(SourceSpec("a.jsonl", where={"x": 1}), max_rows=9),),
        eval=(Portion(SourceSpec("b.jsonl")),),
        seed=7,
        transcripts="text",
    )


def test_a_config_without_evaluation_has_the_usual_fraction_held_out() -> None:
    assert request().eval == 0.05
    assert request(eval=0.25).eval == 0.25


def test_a_fraction_of_the_command_line_wins_and_zero_holds_nothing_out() -> None:
    assert with_fraction(request(eval=0.25), 0.1).eval == 0.1
    assert with_fraction(request(eval=0.25), 0).eval is None


def test_a_fraction_beside_sources_to_evaluate_on_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"--eval 0\.1: the config names sources"):
        with_fraction(request(eval="b.jsonl"), 0.1)


def test_what_is_said_of_reading_is_said_of_every_source_and_leaves_the_rest() -> None:
    given = Request(
        train=(Portion(SourceSpec("a", criterion="better")), Portion(SourceSpec("b"), weight=2.0)),
        eval=(Portion(SourceSpec("c")),),
    )
    found = with_reading(given, policy="best-vs-random", criterion=None, min_margin=0.5)
    assert found.train == (
        Portion(SourceSpec("a", criterion="better", policy="best-vs-random", min_margin=0.5)),
        Portion(SourceSpec("b", policy="best-vs-random", min_margin=0.5), weight=2.0),
    )
    assert found.eval == (Portion(SourceSpec("c", policy="best-vs-random", min_margin=0.5)),)
    assert with_reading(given, policy=None, criterion=None, min_margin=None) == given
