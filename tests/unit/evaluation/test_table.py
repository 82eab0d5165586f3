"""The table of an evaluation: every figure with its interval, and nothing that a terminal would obey."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from orpo.evaluation.table import as_table


def figure(value: float, interval: tuple[float, float] | None = (0.1, 0.9)) -> dict[str, Any]:
    return {"value": value, "interval": interval, "method": "any"}


def pairs(count: int) -> dict[str, Any]:
    names = ("accuracy", "margin", "log_odds", "logps_chosen", "logps_rejected")
    none = dict.fromkeys(["rewards_chosen", "rewards_rejected"])
    return {"count": count, **{name: figure(0.25) for name in names}, **none}


def record(**changed: Any) -> dict[str, Any]:
    used = {"source": "pairs.jsonl", "read": 9, "count": 6, "dropped": {"identical responses": 3}}
    return {
        "of": {"kind": "run", "name": "first", "path": "runs/first", "url": None, "step": 4},
        "data": {"pairs": used, "prompts": used},
        "pairs": None,
        "assessment": None,
        "generation": None,
        "diversity": None,
    } | changed


def printed(**changed: Any) -> str:
    file = io.StringIO()
    Console(file=file, width=100).print(as_table(record(**changed)))
    return file.getvalue()


def test_pairs_have_their_means_and_their_parts() -> None:
    parts = {
        "by_source": [pairs(2) | {"name": "a.jsonl"}, pairs(4) | {"name": "long/" * 20 + "b.jsonl"}],
        "by_length": [pairs(2) | {"bounds": [1, 5]}, pairs(4) | {"bounds": [6, 6]}],
    }
    text = printed(pairs=pairs(6) | parts)
    for part in (
        "run first (runs/first, step 4)",
        "6 of 9 rows of pairs.jsonl; 3 not: identical responses",
        "accuracy  25.0 [10.0, 90.0] %",
        "log-odds  0.250 [0.100, 0.900]",
        "a.jsonl",
        "long/b.jsonl",
        "1 to 5 tokens",
        "6 tokens",
    ):
        assert part in text


def test_one_source_and_one_length_are_no_parts() -> None:
    parts = {"by_source": [pairs(6) | {"name": "a"}], "by_length": [pairs(6) | {"bounds": [3, 3]}]}
    assert "3 tokens" not in printed(pairs=pairs(6) | parts)


def test_a_reward_model_is_said_to_be_fit_or_not() -> None:
    rate = {"rate": 0.75, "low": 0.5, "high": 0.9}
    found = {"accuracy": rate, "by_length": rate | {"rule": "longer wins", "p_value": 0.04}}
    assert "NOT fit to judge" in printed(assessment=found | {"fit_to_judge": False})
    text = printed(assessment=found | {"fit_to_judge": True})
    assert "`longer wins` on  75.0 [50.0, 90.0] %, as often: p = 0.04" in text


def test_responses_are_counted_with_what_they_cost() -> None:
    generation = {
        "prompts": 3,
        "samples": 2,
        "responses": 5,
        "failed": 1,
        "mean_tokens": None,
        **{name: figure(0.5) for name in ("truncated", "empty", "mean_characters")},
        "spent": {"prompt_tokens": 7, "completion_tokens": 8, "answers_without_tokens": 0, "cost": 0.5},
    }
    text = printed(generation=generation)
    assert "5 of 6, 2 to each of 3 prompts" in text
    assert "50.0 [10.0, 90.0] %" in text
    assert "7 tokens read, 8 written, cost 0.5" in text


def test_diversity_says_whose_cosines_it_shows() -> None:
    diversity = {
        "embedder": "hashed",
        "comparable_with_paper": False,
        "across_inputs": None,
        "per_input": figure(0.5),
        "distinct_n": {"1": figure(0.25, None)},
        "self_bleu": figure(0.125),
    }
    text = printed(diversity=diversity)
    assert "only figures of one embedder can be compared" in text
    assert "mean cosine 0.500 [0.100, 0.900]" in text
    assert "distinct-1" in text
    assert "0.250\n" in text.replace(" ", "")
    assert "across" not in text


def test_names_cannot_command_the_terminal() -> None:
    hostile = "\x1b[31m[bold]name\u202e"
    used = {"source": hostile, "read": 1, "count": 1, "dropped": {hostile: 1}}
    of = {"kind": "model", "name": hostile, "path": hostile, "url": None, "step": None}
    parts = {"by_source": [pairs(1) | {"name": hostile}] * 2, "by_length": []}
    text = printed(of=of, data={"pairs": used, "prompts": used}, pairs=pairs(2) | parts)
    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "[bold]name" in text
