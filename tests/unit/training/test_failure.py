"""What is told of a step that ended a run: which rows, which terms, and what to do."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from orpo.batch import Scores, Totals
from orpo.errors import NumericsError
from orpo.objectives import DPO, KTO, ORPO, ObjectiveOutput
from orpo.training.loop import TrainingLoop
from tests.faulty import InfiniteSlope, Poisoned, poison
from tests.loops import make_loop, random_pairs, tokenized


class BadLength(ORPO):
    """ORPO that computes nonsense for chosen responses of one length."""

    def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
        wrong = torch.where(scores.chosen_count == 55, torch.nan, 1.0)
        return super().__call__(replace(scores, chosen=scores.chosen * wrong), totals)


def failure(loop: TrainingLoop, folder: Path) -> tuple[NumericsError, dict[str, Any]]:
    with pytest.raises(NumericsError) as caught:
        loop.run()
    return caught.value, json.loads((folder / "failure.json").read_text())


def some_bad() -> Any:
    pairs = list(random_pairs(8))
    pairs[5] = replace(pairs[5], chosen=tuple([7] * 55))
    return tokenized(pairs)


def test_the_pairs_at_fault_are_named_and_their_terms_are_on_file(tmp_path: Path) -> None:
    loop = make_loop(run_dir=tmp_path, pairs=some_bad(), objective=BadLength(0.5), max_tokens=150)
    error, record = failure(loop, tmp_path)
    assert error.message.startswith("step 1: loss is not finite (nan), so no update was made; ")
    assert "grad_norm nan" in error.message
    assert error.message.endswith("; alone, 1 of its 8 pairs are not finite: rows row 5")
    assert error.hint is not None
    assert "Look at these rows" in error.hint
    assert str(tmp_path / "failure.json") in error.hint

    assert (record["step"], record["not_finite_alone"]) == (1, ["row 5"])
    assert record["seen"]["loss"] == record["seen"]["logps/chosen"] == "nan"
    pairs = {pair["row"]: pair for pair in record["pairs"]}
    assert len(pairs) == 8
    assert pairs["row 5"]["tokens"]["chosen"] == 55
    assert pairs["row 5"]["loss"] == pairs["row 5"]["grad_norm"] == "nan"
    assert math.isfinite(pairs["row 5"]["logps/rejected"])
    assert all(math.isfinite(pair["loss"]) for row, pair in pairs.items() if row != "row 5")


def test_terms_of_pairs_are_those_of_the_step_with_its_weights(tmp_path: Path) -> None:
    """The loss of the batch is the mean of its pairs' losses, and the gradient at most the sum of theirs."""
    twin = make_loop(run_dir=tmp_path / "twin", max_steps=3, log_every=1)
    twin.run()
    loop, _ = poison(make_loop, (3,), InfiniteSlope(0.5), run_dir=tmp_path / "run", max_steps=3, log_every=1)
    _, record = failure(loop, tmp_path / "run")
    last = json.loads((tmp_path / "twin" / "metrics.jsonl").read_text().splitlines()[-1])
    losses = [pair["loss"] for pair in record["pairs"]]
    assert sum(losses) / len(losses) == pytest.approx(last["loss"], rel=1e-5)
    assert record["seen"]["loss"] == pytest.approx(last["loss"], rel=1e-6)
    assert record["seen"]["grad_norm"] == "nan"


def test_when_every_pair_is_at_fault_the_weights_are_suspected(tmp_path: Path) -> None:
    error, record = failure(make_loop(run_dir=tmp_path, objective=Poisoned(0.5)), tmp_path)
    assert len(record["not_finite_alone"]) == 8
    assert error.hint is not None
    assert "the weights are damaged" in error.hint
    assert "and 3 more" in error.message


def test_when_no_pair_is_at_fault_alone_the_device_is_suspected(tmp_path: Path) -> None:
    """The fault is gone when the step is computed again."""

    class Once(Poisoned):
        calls = 0

        def __call__(self, scores: Scores, totals: Totals) -> ObjectiveOutput:
            Once.calls += 1
            return (
                super().__call__(scores, totals) if Once.calls == 1 else ORPO.__call__(self, scores, totals)
            )

    error, record = failure(make_loop(run_dir=tmp_path, objective=Once(0.5)), tmp_path)
    assert record["not_finite_alone"] == []
    assert "alone, each of its 8 pairs is finite (rows row " in error.message
    assert error.hint is not None
    assert "the device has computed wrongly" in error.hint


@pytest.mark.parametrize("objective", [DPO(beta=0.1), KTO(beta=0.1)], ids=["dpo", "kto"])
def test_every_objective_is_examined_in_its_own_terms(objective: Any, tmp_path: Path) -> None:
    pairs = random_pairs(8)
    pairs = pairs.with_references(torch.full((8, 2), -10.0).numpy())
    loop = make_loop(run_dir=tmp_path, pairs=pairs, objective=objective)
    torch.nn.init.constant_(loop._model.lm_head.weight, torch.nan)  # pyright: ignore[reportAttributeAccessIssue]
    _, record = failure(loop, tmp_path)
    assert record["pairs"][0]["rewards/chosen"] == "nan"
