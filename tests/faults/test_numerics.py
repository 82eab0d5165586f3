"""Numbers that are not finite end a run with 5, say which rows, and leave the weights as they were."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orpo.rundir import RunDirectory
from tests.e2e.commands import Workspace, make_workspace
from tests.faulty import InfiniteSlope, Poisoned
from tests.tiny import tiny_llama


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


@pytest.mark.parametrize(
    ("objective", "first", "finite"),
    [
        (Poisoned(0.1), "loss is not finite (nan)", "grad_norm"),
        (InfiniteSlope(0.1), "grad_norm is not", "loss"),
    ],
    ids=["loss", "gradient of a finite loss"],
)
def test_a_step_that_is_not_finite_ends_the_run_with_5_and_everything_there_is_to_know(
    objective: object, first: str, finite: str, workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orpo.run.compose.build_objective", lambda section: objective)
    outcome = workspace.train("data.eval=null")
    assert outcome.code == 5
    assert "Traceback" not in outcome.err
    message = outcome.err.partition("error: ")[2]
    assert message.startswith(f"step 1: {first}")
    assert f"rows {workspace.folder / 'train.jsonl'}:" in message
    assert "training.learning_rate" in message

    run = RunDirectory(workspace.output)
    assert f"All terms of all pairs of the step are in {run.path / 'failure.json'}." in message
    failure = json.loads((run.path / "failure.json").read_text())
    assert {pair["row"].rpartition(":")[0] for pair in failure["pairs"]} == {
        str(workspace.folder / "train.jsonl")
    }
    assert {"nll_loss", "log_odds_ratio", "logps/chosen"} <= set(failure["pairs"][0])
    assert (run.read_summary()["status"], run.read_metrics()) == ("failed", [])
    assert not run.model.exists(), "weights of a failed run are not what was asked for"


def test_the_last_good_checkpoint_is_named_and_is_sound(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import orpo.training.loop as loop

    update = loop.TrainingLoop._update

    def poisoned(self: loop.TrainingLoop, batch: object) -> None:
        if self.step == 2:
            self._gradient_step.plain.objective = Poisoned(0.1)
        update(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.TrainingLoop, "_update", poisoned)
    outcome = workspace.train("training.checkpoint_every=2", "data.eval=null")
    assert outcome.code == 5
    checkpoints = RunDirectory(workspace.output).checkpoints
    assert f"The last good checkpoint is {checkpoints.at(2)}." in outcome.err
    newest = checkpoints.newest()
    assert newest is not None
    assert newest.step == 2
    weights = load_file(newest.path / "parameters.safetensors")
    assert all(value.isfinite().all() for value in weights.values())


def test_a_step_that_may_be_skipped_is_and_the_record_says_so(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    import orpo.training.loop as loop

    update = loop.TrainingLoop._update

    def poisoned(self: loop.TrainingLoop, batch: object) -> None:
        plain = self._gradient_step.plain
        usual = plain.objective
        plain.objective = Poisoned(0.1) if self.step == 1 else usual
        update(self, batch)  # type: ignore[arg-type]
        plain.objective = usual

    monkeypatch.setattr(loop.TrainingLoop, "_update", poisoned)
    outcome = workspace.train("training.max_skipped_steps=1")
    assert outcome.code == 0
    assert (
        "step 2: loss or gradient is not finite; no update was made (1 of at most 1 such steps)"
        in outcome.err
    )
    run = RunDirectory(workspace.output)
    assert run.read_summary()["skipped_steps"] == [2]
    assert [row["step"] for row in run.read_metrics("train")] == [1, 3, 4]
    assert all(math.isfinite(row["loss"]) and row["loss"] > 0 for row in run.read_metrics())


def test_nothing_is_saved_of_a_step_that_a_signal_came_in(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The verdict on the step is read before its checkpoint is written."""
    monkeypatch.setattr("orpo.run.compose.build_objective", lambda section: Poisoned(0.1))
    monkeypatch.setattr("orpo.training.loop.requested", lambda: 15)
    outcome = workspace.train("data.eval=null", "training.log_every=100")
    assert outcome.code == 5
    assert not (workspace.output / "checkpoints" / "step-1").exists()


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
def test_weights_that_are_not_numbers_end_a_run_of_any_precision(
    precision: str, workspace: Workspace
) -> None:
    model = tiny_llama(vocab_size=259)
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    model.save_pretrained(workspace.folder / "model")
    outcome = workspace.train("data.eval=null", f"training.precision={precision}")
    assert outcome.code == 5
    assert "step 1: loss is not finite (nan)" in outcome.err
    assert "the weights are damaged" in outcome.err


def test_warnings_are_said_once_and_are_in_the_summary(workspace: Workspace) -> None:
    """Preferences that hardly count, and a model that hardly learns."""
    outcome = workspace.train(
        "objective.lambda=1e-5", "training.learning_rate=1e-8", "training.max_steps=80", "data.eval=null"
    )
    assert outcome.code == 0
    warnings = RunDirectory(workspace.output).read_summary()["warnings"]
    assert "faint-preference" in {warning["name"] for warning in warnings}
    for warning in warnings:
        assert outcome.err.count(f"step {warning['step']}: {warning['message']}. {warning['advice']}") == 1
    assert len({warning["name"] for warning in warnings}) == len(warnings)
