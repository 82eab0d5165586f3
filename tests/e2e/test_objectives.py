"""Every objective trains from the command line, on pairs, single responses and labelled rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orpo.objectives import OBJECTIVES
from orpo.run import TrainingResult, train
from orpo.rundir import RunDirectory
from tests.rows import rows
from tests.tiny import save_tiny_model

SINGLES = [{"prompt": f"{i} + 0 =", "completion": f" {i}"} for i in range(10)]
LABELLED = [{"prompt": f"{i} - 0 =", "completion": f" {i + (i % 2)}", "label": i % 2 == 0} for i in range(12)]


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base")


def write(path: Path, content: list[Any]) -> str:
    path.write_text("".join(json.dumps(row) + "\n" for row in content), encoding="utf-8")
    return str(path)


def run(base: Path, name: str, **data: Any) -> TrainingResult:
    config = {
        "model": str(base),
        "data": data,
        "objective": {"name": name},
        "training": {"batch_size": 8, "epochs": 2, "log_every": 1, "learning_rate": 1e-2},
        "output": str(base.with_name(name)),
    }
    return train(config)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_it_lowers_its_loss_and_says_what_it_is(base: Path, tmp_path: Path, name: str) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(32))
    result = run(base, name, train=pairs, eval=write(tmp_path / "eval.jsonl", rows(8)))
    evaluations = result.summary["eval"]
    assert evaluations["last"]["loss"] < evaluations["first"]["loss"]
    assert {"logps/chosen", "logps/rejected", "rewards/accuracies", "logps/accuracies"} <= evaluations[
        "last"
    ].keys()
    definition = RunDirectory(result.path).read_definition()
    assert definition["objective"]["name"] == name
    card = (result.path / "model" / "README.md").read_text(encoding="utf-8")
    assert OBJECTIVES[name].formula in card


@pytest.mark.parametrize(("name", "rows_used"), [("orpo", 20), ("sft", 20), ("simpo", 10), ("kto", 42)])
def test_rows_of_every_kind_are_used_or_left_out(
    base: Path, tmp_path: Path, name: str, rows_used: int
) -> None:
    """Of 10 pairs, 10 single responses and, for KTO, 12 labelled ones; it sees a pair as two rows."""
    kinds = {"pairs": rows(10), "singles": SINGLES} | ({"labelled": LABELLED} if name == "kto" else {})
    sources = [write(tmp_path / f"{kind}.jsonl", content) for kind, content in kinds.items()]
    steps_per_epoch = -(-rows_used // 8)
    assert run(base, name, train=sources).summary["steps"] == 2 * steps_per_epoch


def test_what_a_reference_says_is_kept_for_the_next_run(
    base: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(16))
    first = run(base, "dpo", train=pairs)
    with caplog.at_level("INFO", logger="orpo"):
        second = run(base, "ipo", train=pairs)
    assert "reference scores of 16 rows: read from" in caplog.text
    assert first.summary["train"]["logps/chosen"] != second.summary["train"]["logps/chosen"]
