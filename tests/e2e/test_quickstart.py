"""`orpo train quickstart`, cut short: the whole of it runs in .ci/run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from orpo.quickstart.task import check, make_pairs
from tests.e2e.commands import invoke

SHORT = ("training.max_steps=2", "training.log_every=1")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder to work in, so that nothing of the repository is reached by a relative path."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_trains_judges_and_shows_three_answers_side_by_side(here: Path) -> None:
    outcome = invoke("train", "quickstart", *SHORT)
    assert outcome.code == 0, outcome.err
    assert "pair accuracy" in outcome.out
    assert "● chosen" in outcome.out
    assert "won" in outcome.out
    assert outcome.out.count("│ aligned │") == 3
    assert (here / "runs/quickstart/model/model.safetensors").exists()


def test_it_can_be_run_again_and_overwrites_nothing(here: Path) -> None:
    for _ in range(2):
        assert invoke("train", "quickstart", *SHORT).code == 0
    assert (here / "runs/quickstart/summary.json").exists()
    assert (here / "runs/quickstart-2/summary.json").exists()


def test_json_has_the_summary_and_the_verdicts(here: Path) -> None:
    summary = json.loads(invoke("train", "quickstart", "--json", *SHORT).out)
    assert summary["status"] == "finished"
    assert summary["quickstart"]["prompts"] == 150
    assert 20 <= summary["quickstart"]["good_before"] <= 80, "the base model is neither hopeless nor good"


@pytest.mark.parametrize("override", ["model=other", "data.eval=null"])
def test_its_model_and_data_cannot_be_changed(here: Path, override: str) -> None:
    outcome = invoke("train", "quickstart", override)
    assert outcome.code == 2
    assert override.partition("=")[0] in outcome.err
    assert not (here / "runs").exists()


def test_its_pairs_are_what_they_claim_to_be() -> None:
    for row in make_pairs(300, 7, "train"):
        assert check(row["prompt"], row["chosen"]).ok
        assert not check(row["prompt"], row["rejected"]).ok
