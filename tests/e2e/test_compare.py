"""`orpo compare` on a tiny model, interrupted and gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.browser import needs_browser, visit
from tests.e2e.commands import ENVIRONMENT, ORPO, Outcome, invoke, run_process
from tests.pages import ParsedPage, assert_self_contained
from tests.rows import rows, write_rows
from tests.tiny import save_tiny_model


@dataclass(frozen=True)
class Compared:
    """A comparison that was interrupted after its first run, and gone on with."""

    output: Path
    interrupted: Outcome
    finished_before: dict[Path, int]
    """When the summaries were written of runs that were finished by then."""

    resumed: Outcome

    @property
    def record(self) -> dict[str, Any]:
        return json.loads((self.output / "comparison.json").read_text(encoding="utf-8"))


def write_config(folder: Path) -> Path:
    save_tiny_model(folder / "model")
    write_rows(folder / "train.jsonl", 16)
    held_out = [{**row, "prompt": f"so {row['prompt']}"} for row in rows(8)]
    (folder / "eval.jsonl").write_text("".join(json.dumps(row) + "\n" for row in held_out), encoding="utf-8")
    path = folder / "compare.yaml"
    path.write_text(
        f"""\
model: {folder / "model"}
data: {{train: {folder / "train.jsonl"}, eval: {folder / "eval.jsonl"}, cache: {folder / "cache"}}}
training: {{batch_size: 8, learning_rate: 1e-3, log_every: 1}}
output: {folder / "compared"}
compare:
  budget: 16
  seeds: [1, 2]
  systems:
    - {{name: sft, objective: {{name: sft}}}}
    - {{name: orpo, objective: {{lambda: 1.0}}}}
    - {{name: dpo, after: sft, objective: {{name: dpo}}}}
  evaluation: {{max_prompts: 4, samples: 2, max_new_tokens: 4}}
  judge:
    data: {{train: {folder / "train.jsonl"}}}
    training: {{max_steps: 1}}
""",
        encoding="utf-8",
    )
    return path


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Compared:
    folder = tmp_path_factory.mktemp("compare")
    config, output = write_config(folder), folder / "compared"
    process = subprocess.Popen(
        [ORPO, "compare", config], env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    end = time.monotonic() + 100
    while not list(output.glob("runs/*/*/summary.json")) and time.monotonic() < end:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=100)
    interrupted = Outcome(process.returncode, out, err)
    summaries = [path for path in output.rglob("summary.json") if '"finished"' in path.read_text()]
    finished = {path: path.stat().st_mtime_ns for path in summaries}
    return Compared(output, interrupted, finished, run_process(ORPO, "compare", config, "--json"))


def test_ctrl_c_ends_it_with_the_command_that_goes_on(compared: Compared) -> None:
    assert compared.interrupted.code == 75, compared.interrupted.err
    assert f"resume with: orpo compare {compared.output.parent / 'compare.yaml'}" in compared.interrupted.err


def test_what_was_finished_is_not_trained_again(compared: Compared) -> None:
    assert compared.resumed.code == 0, compared.resumed.err
    before = compared.finished_before
    assert len(before) >= 2  # the judge, and the run that was waited for
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    assert "runs are done already" in compared.resumed.err


def test_every_system_is_trained_and_evaluated_with_every_seed(compared: Compared) -> None:
    record = compared.record
    assert json.loads(compared.resumed.out) == record
    assert record["compared"] == ["base", "sft", "orpo", "dpo"]
    assert {name: sorted(seeds) for name, seeds in record["runs"].items()} == {
        name: ["1", "2"] for name in ("sft", "orpo", "dpo")
    }
    assert {seed["visits"] for seeds in record["runs"].values() for seed in seeds.values()} == {16}
    assert (record["pairs"], record["prompts"], record["samples"]) == (8, 4, 2)
    assert len(record["judge"]["win_rates"]) == 6
    assert record["measures"]["logps_chosen"]["systems"]["sft"]["by_seed"]
    assert len(record["claims"]) == 8
    assert record["recommendation"]["rules"]


def test_the_model_before_training_is_evaluated_as_training_saw_it(compared: Compared) -> None:
    """Its log-probabilities are those of the first evaluation of a run."""
    metrics = compared.output / "runs" / "sft" / "seed-1" / "metrics.jsonl"
    first = json.loads(metrics.read_text(encoding="utf-8").splitlines()[0])
    base = compared.record["measures"]["logps_chosen"]["systems"]["base"]
    assert base["value"] == pytest.approx(first["logps/chosen"], abs=1e-5)


def test_the_report_is_one_page(compared: Compared) -> None:
    page = (compared.output / "report.html").read_text(encoding="utf-8")
    assert_self_contained(page)
    assert "3 ways to train, compared" in ParsedPage(page).text


@needs_browser
def test_a_browser_shows_it_without_complaint(compared: Compared, tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_bytes((compared.output / "report.html").read_bytes())
    seen = visit(page)
    assert (seen.console, seen.requests) == ([], set())


def test_a_dry_run_trains_nothing(tmp_path: Path) -> None:
    outcome = invoke("compare", write_config(tmp_path), "--dry-run", "--json")
    assert outcome.code == 0, outcome.err
    assert [one["visits"] for one in json.loads(outcome.out)["systems"]] == [16, 16, 16]
    assert not (tmp_path / "compared").exists()


def test_an_output_that_holds_something_else_is_left_alone(tmp_path: Path) -> None:
    config = write_config(tmp_path)
    outcome = invoke("compare", config, f"output={tmp_path}")
    assert outcome.code == 2
    assert "already holds files, and no comparison" in outcome.err
