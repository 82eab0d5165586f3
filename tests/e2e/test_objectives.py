"""Every objective trains from the command line, on pairs, single responses and labelled rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForSequenceClassification
from transformers import AutoModelForSequenceClassification, AutoTokenizer

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
    told = {"rewards/accuracies"}
    if not OBJECTIVES[name].needs_values:
        told |= {"logps/chosen", "logps/rejected", "logps/accuracies"}
    assert told <= evaluations["last"].keys()
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


def test_a_reward_model_gives_the_same_values_in_transformers(base: Path, tmp_path: Path) -> None:
    """A right-padded batch of whole texts, in a tokenizer whose padding would be the token that ends them."""
    tokenizer = AutoTokenizer.from_pretrained(base)
    tokenizer.pad_token = tokenizer.eos_token
    tokenizer.save_pretrained(base)
    pairs = rows(12)
    held_out = write(tmp_path / "eval.jsonl", pairs)
    result = run(base, "reward", train=write(tmp_path / "pairs.jsonl", rows(32)), eval=held_out)

    tokenizer = AutoTokenizer.from_pretrained(result.path / "model")
    model = AutoModelForSequenceClassification.from_pretrained(result.path / "model")
    assert tokenizer.pad_token_id == model.config.pad_token_id != tokenizer.eos_token_id
    texts = [
        row["prompt"] + row[side] + tokenizer.eos_token for side in ("chosen", "rejected") for row in pairs
    ]
    batch = tokenizer(texts, padding=True, padding_side="right", return_tensors="pt")
    with torch.no_grad():
        chosen, rejected = model(**batch).logits[:, 0].view(2, -1)
    last = result.summary["eval"]["last"]
    assert chosen.mean().item() == pytest.approx(last["rewards/chosen"], rel=1e-4)
    assert rejected.mean().item() == pytest.approx(last["rewards/rejected"], rel=1e-4)
    assert (chosen > rejected).float().mean().item() == pytest.approx(last["rewards/accuracies"])
    assert result.summary["assessment"]["accuracy"]["rate"] == pytest.approx(last["rewards/accuracies"])


@pytest.mark.parametrize("merge", [False, True])
def test_a_reward_models_adapters_load_in_peft(base: Path, tmp_path: Path, merge: bool) -> None:
    pairs = write(tmp_path / "pairs.jsonl", rows(16))
    config = {
        "model": {"name": str(base), "lora": {"r": 2, "merge": merge}},
        "data": {"train": pairs, "eval": pairs},
        "objective": {"name": "reward"},
        "training": {"batch_size": 8, "max_steps": 4, "learning_rate": 1e-2},
        "output": str(tmp_path / "run"),
    }
    result = train(config)
    folder = result.path / "model"
    if merge:
        model = AutoModelForSequenceClassification.from_pretrained(folder)
    else:
        model = AutoPeftModelForSequenceClassification.from_pretrained(folder, num_labels=1)
        model.config.pad_token_id = 0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    texts = [row["prompt"] + row["chosen"] + tokenizer.eos_token for row in rows(16)]
    with torch.no_grad():
        values = model.eval()(**tokenizer(texts, padding=True, return_tensors="pt")).logits[:, 0]
    assert values.mean().item() == pytest.approx(result.summary["eval"]["last"]["rewards/chosen"], rel=1e-4)


def test_a_reward_model_is_judged_when_it_is_saved(base: Path, tmp_path: Path) -> None:
    result = run(
        base, "reward", train=write(tmp_path / "a.jsonl", rows(32)), eval=write(tmp_path / "b.jsonl", rows(9))
    )
    found = result.summary["assessment"]
    assert found["pairs"] == sum(one["pairs"] for one in found["calibration"]["bins"]) == 9
    card = (result.path / "model" / "README.md").read_text(encoding="utf-8")
    assert "# Reward model from base\n" in card
    assert "pipeline_tag: text-classification" in card
    assert f"Right on {found['accuracy']['rate']:.1%} of 9 pairs" in card
    assert "Expected calibration error" in card
