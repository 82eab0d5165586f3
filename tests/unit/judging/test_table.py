from __future__ import annotations

import io
import json
import math

from rich.console import Console

from orpo.chat.spending import Usage
from orpo.judging.comparison import Comparison, Judgement
from orpo.judging.contest import Contest, standings
from orpo.judging.outputs import Item, Matching
from orpo.judging.record import as_record, spent_record
from orpo.judging.table import as_table
from orpo.judging.verdicts import Status


def comparison(
    model: str = "ours", baseline: str = "theirs", preferences: tuple[float, ...] = (1, 1, 0, 0.5)
) -> Comparison:
    judgements = [
        Judgement(Item(f"q{n}", "x" * (5 + n), "y" * 5), p, Status.VALID, p, p)
        for n, p in enumerate(preferences)
    ]
    failed = Judgement(Item("bad", "x", "y"), math.nan, Status.INVALID, 1.0, math.nan)
    return Comparison(model, baseline, "judge", (*judgements, failed), {"unreadable": 1})


def printed(*contests: Contest, spent: dict[str, object] | None = None) -> str:
    record = as_record(contests, standings(contests), spent=spent)
    json.dumps(record, allow_nan=False)
    file = io.StringIO()
    Console(file=file, width=200).print(as_table(record))
    return file.getvalue()


def test_everything_that_was_found_is_shown() -> None:
    matching = Matching((), ("a lonely question",), ())
    text = printed(Contest(comparison(), matching))
    for part in (
        "ours against theirs, judged by judge",
        "62.5 % [",
        "(95 %, bootstrap): inconclusive",
        "2, 1, 1",
        "p = 1",
        "fitted within these verdicts alone (not AlpacaEval's column)",
        "5 and 4 characters",
        "both orders agree on 100.0 %",
        "4 valid of 5 (1 invalid)",
        "1 without a verdict: unreadable",
        "1 only in ours (first: 'a lonely question')",
    ):
        assert part in text, part
    assert "Bradley-Terry" not in text


def test_figures_that_are_not_known_say_so() -> None:
    text = printed(Contest(comparison(preferences=())))
    assert "win rate         not known: no valid verdict" in text
    assert text.count("not known") == 3
    assert "0 valid of 1 (1 invalid)" in text


def test_several_models_have_a_table_of_strengths() -> None:
    contests = [Contest(comparison(*pair)) for pair in (("a", "b"), ("a", "c"), ("b", "c"))]
    text = printed(*contests)
    assert "Bradley-Terry" in text
    assert "a against c" in text
    assert text.count("not significant") == 3


def test_cost_is_shown_with_what_is_not_known_of_it() -> None:
    spent = spent_record(5, Usage(2, 100, 20, 0, 0.5), Usage(4, 200, 40, 1, 1.0))
    text = printed(Contest(comparison()), spent=spent)
    assert "5 sent now" in text
    assert "2 answers: 100 tokens read, 20 written, cost 0.5000 " in text
    assert "4 answers: 200 tokens read, 40 written, cost 1.0000, and 1 answers of unknown size" in text


def test_hostile_names_are_text() -> None:
    text = printed(Contest(comparison("[red]ours[/red]\x1b[2J", "their\nname")))
    assert "[red]ours[/red]�[2J against their↵name" in text
