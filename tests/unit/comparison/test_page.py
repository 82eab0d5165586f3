"""The page is whole and loads nothing, whatever models say."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from orpo.comparison.figures import all_measures
from orpo.comparison.page import as_page
from orpo.comparison.record import Findings, as_record, find
from orpo.comparison.table import plan_table, results_table
from orpo.comparison.winrates import judged
from orpo.statistics.hashed_ngrams import HashedNgrams
from tests.pages import ParsedPage, assert_self_contained
from tests.unit.comparison.evidence import evidence, plan
from tests.unit.comparison.test_winrates import Liking, assessment

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(1)> {{ 7 * 7 }} </div></table> \x1b[31m \u202e"


def say(name: str, seed: int, prompt: int, sample: int) -> str:
    return f"{HOSTILE} {name} {seed} {prompt} {sample}"


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> Findings:
    folder = tmp_path_factory.mktemp("page")
    known = evidence(plan(folder), {"sft": (0.3, 0.2), "orpo-lambda-1.0": (0.1, -2.0)}, say)
    known = replace(known, failures={**known.failures, "dpo": {2: HOSTILE}})
    wins = judged(known, Liking("orpo"), assessment(fit=False), folder)
    return find(
        known,
        all_measures(known, HashedNgrams()),
        wins,
        embedder=HOSTILE,
        command=HOSTILE,
        versions={"orpo": HOSTILE},
    )


def test_the_page_runs_and_loads_nothing(findings: Findings) -> None:
    page = as_page(findings)
    assert_self_contained(page)
    assert "{{ 7 * 7 }}" in ParsedPage(page).text
    assert "\x1b" not in page
    assert "\u202e" not in page


def test_the_page_shows_everything(findings: Findings) -> None:
    page = as_page(findings)
    text = " ".join(ParsedPage(page).text.split())
    for heading in ("What to use", "Figures", "Who wins against whom", "The paper's claims", "What they say"):
        assert heading in text
    for name in findings.evidence.compared:
        assert name in text
    assert "alert(1)" in text
    assert "not fit to judge" in text
    pictures = [tag for tag, _ in ParsedPage(page).tags if tag == "svg"]
    assert len(pictures) >= 4 + 4  # of each system, and margins, diversity, time and memory
    assert "has failed" in text


def test_a_judge_and_diversity_may_be_missing(tmp_path: Path) -> None:
    known = evidence(plan(tmp_path), {})
    found = find(known, all_measures(known, None), None, embedder=None, command="", versions={})
    text = ParsedPage(as_page(found)).text
    assert "Who wins against whom" not in text
    assert "Cannot tell" in text
    assert as_record(found)["judge"] is None


def test_the_record_is_plain_json(findings: Findings) -> None:
    record = json.loads(json.dumps(as_record(findings), allow_nan=False))
    assert record["compared"] == findings.evidence.compared
    assert record["plan"]["systems"][-1]["visits"] == 64
    assert len(record["measures"]["accuracy"]["differences"]) == 10
    assert len(record["judge"]["win_rates"]) == 10
    assert [one["number"] for one in record["claims"]] == list(range(1, 9))
    assert {one["verdict"] for one in record["claims"]} <= {
        "holds",
        "does not hold",
        "cannot tell",
        "not tested",
    }
    assert record["recommendation"]["systems"] == ["orpo-lambda-1.0"]
    assert record["runs"]["dpo"]["1"]["visits"] == 64


def test_the_terminal_is_told_and_obeys_nothing(findings: Findings) -> None:
    console = Console(width=160, record=True, file=io.StringIO())
    console.print(results_table(findings))
    console.print(plan_table(findings.evidence.plan))
    said = console.export_text()
    assert "orpo-lambda-1.0" in said
    assert "recommendation" in said
    assert "dpo: starts from sft, with 32 of the visits" in said
    assert "\u202e" not in said
