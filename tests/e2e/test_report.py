"""`orpo report` on real runs, of each objective and at each moment of their lives."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from orpo import train
from orpo.objectives import OBJECTIVES
from orpo.report.page import as_page
from orpo.report.run import read_runs
from tests.browser import needs_browser, visit
from tests.e2e.commands import HEAVY_MODULES, Workspace, invoke, make_workspace, modules_loaded_by
from tests.pages import ParsedPage, assert_self_contained
from tests.unit.report.evaluations import evaluate, record, responses
from tests.unit.report.runs import HOSTILE


def settings(workspace: Workspace, **changes: Any) -> dict[str, Any]:
    """A configuration that trains for two steps on the workspace's rows."""
    folder = workspace.folder
    return {
        "model": str(folder / "model"),
        "data": {"train": str(folder / "train.jsonl"), "eval": str(folder / "eval.jsonl")},
        "training": {"batch_size": 8, "max_steps": 2, "learning_rate": 1e-3, "log_every": 1},
        "output": str(folder / "run"),
    } | changes


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A run of each objective."""
    workspace = make_workspace(tmp_path_factory.mktemp("report"))
    done = {}
    for name in OBJECTIVES:
        output = str(workspace.folder / name)
        done[name] = train(settings(workspace, objective={"name": name}, output=output)).path
    return done


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_run_of_each_objective_is_reported(runs: dict[str, Path], tmp_path: Path, name: str) -> None:
    page, ours = tmp_path / "page.html", OBJECTIVES[name]
    outcome = invoke("report", runs[name], "--output", page, "--json")
    assert outcome.code == 0, outcome.err
    assert f"report written to {page}" in outcome.err
    text = page.read_text(encoding="utf-8")
    assert_self_contained(text)
    assert ours.formula in ParsedPage(text).text
    (run,) = json.loads(outcome.out)["runs"]
    assert (run["status"], run["steps"], run["eval"]["pairs"]) == ("finished", 2, 6)
    assert run["eval"]["metrics"]["rewards/accuracies"]["interval"]
    assert (run["summary"]["assessment"] is not None) == ours.needs_values


def test_runs_of_all_objectives_are_compared(runs: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    outcome = invoke("report", *runs.values(), "--output", page, "--json")
    assert outcome.code == 0, outcome.err
    comparison = json.loads(outcome.out)["comparison"]
    assert set(comparison["held_out_data"].values()) == {1}
    assert list(comparison["settings"]["objective.name"].values()) == list(OBJECTIVES)
    assert "losses, rewards and margins are different quantities" in page.read_text(encoding="utf-8")


def test_a_run_can_be_reported_at_any_moment(workspace: Workspace) -> None:
    seen: list[str] = []

    class Reporter(TrainerCallback):
        def on_step_end(self, *args: object, **kwargs: object) -> None:
            seen.append(ParsedPage(as_page(read_runs([workspace.output]))).text)

    train(settings(workspace), callbacks=[Reporter()])
    assert len(seen) == 2
    assert all("it is going on, or was killed" in " ".join(text.split()) for text in seen)


def test_what_orpo_eval_has_found_out_is_reported(runs: dict[str, Path], tmp_path: Path) -> None:
    paths = [Path(shutil.copytree(runs[name], tmp_path / name)) for name in ("orpo", "sft")]
    for path in paths:
        evaluated = invoke("eval", path, "--samples", "2", "--temperature", "1", "--max-new-tokens", "8")
        assert evaluated.code == 0, evaluated.err
    page = tmp_path / "page.html"
    outcome = invoke("report", *paths, "--output", page, "--json")
    assert outcome.code == 0, outcome.err
    for run in json.loads(outcome.out)["runs"]:
        assert run["evaluation"]["pairs"]["count"] == run["eval"]["pairs"] == 6
        assert run["evaluation"]["generation"]["responses"] == 12
    text = ParsedPage(page.read_text(encoding="utf-8")).text
    for part in ("What they say", "similarity per input", "share cut off at the limit", "0 + 1 ="):
        assert part in text, part


def test_it_is_written_beside_by_default_and_not_with_json(
    runs: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert invoke("report", runs["orpo"], "--json").code == 0
    assert not list(tmp_path.iterdir())
    outcome = invoke("report", runs["orpo"])
    assert outcome.out == ""
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]


def test_reading_a_run_changes_nothing_in_it(runs: dict[str, Path], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in sorted(runs["orpo"].rglob("*"))}
    assert invoke("report", runs["orpo"], "--output", tmp_path / "page.html").code == 0
    assert before == {path: path.stat().st_mtime_ns for path in sorted(runs["orpo"].rglob("*"))}


def test_mistakes_get_one_message(runs: dict[str, Path], tmp_path: Path) -> None:
    nothing = invoke("report", tmp_path / "nothing")
    assert (nothing.code, nothing.out) == (2, "")
    assert nothing.err.startswith(f"error: {tmp_path / 'nothing'}: no such run directory\n")
    unwritable = invoke("report", runs["orpo"], "--output", tmp_path / "no" / "page.html")
    assert unwritable.code == 2
    assert "--output: cannot write" in unwritable.err


def test_no_model_is_loaded(runs: dict[str, Path], tmp_path: Path) -> None:
    loaded = modules_loaded_by("report", runs["orpo"], "--output", tmp_path / "page.html")
    assert not loaded & HEAVY_MODULES
    assert (tmp_path / "page.html").exists()


@needs_browser
def test_a_browser_shows_it_without_complaint_and_asks_for_nothing(
    runs: dict[str, Path], tmp_path: Path
) -> None:
    page, hostile = tmp_path / "page.html", HOSTILE + '<img src="http://127.0.0.1:9/x.png">'
    paths = [Path(shutil.copytree(runs[name], tmp_path / name)) for name in ("orpo", "reward")]
    for path in paths:
        evaluate(path, record(), responses([[hostile * 50, hostile], ["a\n\nb"]], [hostile, "a prompt"]))
    assert invoke("report", *paths, "--output", page).code == 0
    seen = visit(page)
    assert (seen.console, seen.requests) == ([], set())
    written = ParsedPage(page.read_text(encoding="utf-8"))
    shown = ParsedPage(seen.dom)
    for tag in ("svg", "polyline", "table", "details", "section"):
        assert sum(name == tag for name, _ in shown.tags) == sum(name == tag for name, _ in written.tags) > 0
    assert not {"script", "img"} & {name for name, _ in shown.tags}
    assert shown.text.count("<script>alert(1)</script>") > 100


@needs_browser
def test_a_browser_tells_of_complaints_and_requests(tmp_path: Path) -> None:
    """What the test above rests on."""
    page = tmp_path / "page.html"
    page.write_text(
        '<img src="http://127.0.0.1:9/x.png"><script>console.error("no")</script>', encoding="utf-8"
    )
    seen = visit(page)
    assert seen.requests == {"http://127.0.0.1:9/x.png"}
    assert len(seen.console) == 1
