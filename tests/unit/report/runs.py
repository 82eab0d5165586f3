"""Run directories as runs leave them, made up on the spot."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from orpo.rundir import RunDirectory

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e<b onclick=x>&amp;\x00\n\u2028"

CONFIG = """\
model:
  name: base                                    # config.yaml:1
  lora: null                                    # default
data:
  train:
    path: train.jsonl                           # config.yaml:3
    where: null                                 # default
  eval:
    path: eval.jsonl                            # config.yaml:4
    where: null                                 # default
objective:
  name: orpo                                    # default
  lambda: 0.1                                   # command line
training:
  seed: 42                                      # default
output: run                                     # command line
"""


def source(path: str, fingerprint: str, **changes: Any) -> dict[str, Any]:
    """What definition.json holds of a source."""
    return {
        "path": path,
        "split": None,
        "shape": "strings",
        "detected": "prompt, chosen, rejected",
        "fingerprint": fingerprint,
        "read": 103,
        "kept": 100,
        "dropped": {"identical responses": 3},
        "notes": {},
        "used": 100,
        "left_out": {},
    } | changes


def definition(**changes: Any) -> dict[str, Any]:
    """A definition.json; `changes` go into its sections."""
    counts = {"read": 100, "kept": 99, "dropped": {"empty": 1}, "notes": {"response cut at max_length": 7}}
    used = {"pairs": 99, "singles": 0, "of_no_use": 0}
    sections: dict[str, Any] = {
        "objective": {
            "name": "orpo",
            "definition": "paper",
            "lambda": 0.1,
            "title": "ORPO",
            "formula": "L = L_NLL + lambda * L_OR",
        },
        "model": {
            "name": "base",
            "is_reward_model": False,
            "revision": None,
            "commit": None,
            "random_init": False,
            "lora": None,
            "parameters": 1_000_000,
            "trainable_parameters": 1_000_000,
        },
        "template": {"name": "chatml", "sha256": "ab" * 32},
        "data": {
            "train": [source("train.jsonl", "sha256:1")],
            "eval": [source("eval.jsonl", "sha256:2")],
            "tokens": {"train": counts, "eval": counts},
            "used": {"train": used, "eval": used},
            "max_length": 256,
            "truncation": "cut",
        },
        "versions": {"python": "3.11.7", "orpo": "0.1.0", "torch": "2.13.0"},
        "engine": {"device": "cpu", "processes": 1, "precision": "float32", "compile": False},
    }
    changed = {name: section | changes.get(name, {}) for name, section in sections.items()}
    return changed | {"commands": changes.get("commands", [])}


def summary(**changes: Any) -> dict[str, Any]:
    """A summary.json."""
    return {
        "status": "finished",
        "steps": 40,
        "model_step": 40,
        "max_tokens": [{"step": 0, "tokens": 4096, "why": "speed cap"}],
        "train": {},
        "skipped_steps": [],
        "warnings": [],
        "eval": None,
        "assessment": None,
        "resumed": [],
        "wall_seconds": 93.5,
    } | changes


ASSESSMENT = {
    "pairs": 60,
    "accuracy": {"rate": 0.7, "low": 0.58, "high": 0.8},
    "by_length": {"rule": "longer wins", "rate": 0.55, "low": 0.4, "high": 0.7, "p_value": 0.03},
    "fit_to_judge": True,
    "calibration": {
        "expected_error": 0.05,
        "brier": 0.2,
        "bins": [
            {"confidence": 0.52, "accuracy": 0.5, "pairs": 20},
            {"confidence": 0.7, "accuracy": 0.75, "pairs": 20},
            {"confidence": 0.95, "accuracy": 0.9, "pairs": 20},
        ],
    },
}

FAILURE = {
    "step": 41,
    "seen": {"loss": "nan", "grad_norm": "inf", "nll_loss": 1.5},
    "not_finite_alone": ["train.jsonl:7"],
    "pairs": [
        {"row": "train.jsonl:7", "weight": 1.0, "tokens": {"prompt": 3, "chosen": 4}, "loss": "nan"},
        {"row": "train.jsonl:8", "weight": 1.0, "tokens": {"prompt": 2, "chosen": 1}, "loss": 1.25},
    ],
}


def rows(steps: int, every: int, pace: float = 1.0) -> list[dict[str, Any]]:
    """metrics.jsonl of a run that goes well, the faster the higher `pace` is; evaluated every 10 steps."""
    found: list[dict[str, Any]] = []
    for step in range(0, steps + 1, every):
        learned = 1 - math.exp(-pace * step / steps)
        values = {
            "loss": 2.5 - learned,
            "nll_loss": 2.4 - learned,
            "log_odds_chosen": 0.1 + learned,
            "logps/chosen": learned - 2.4,
            "logps/rejected": -2.5 - learned,
            "rewards/margins": (0.1 + 2 * learned) / 10,
            "rewards/accuracies": 0.5 + 0.4 * learned,
        }
        if step:
            noise = {name: value * (1 + 0.03 * math.sin(7.0 * step)) for name, value in values.items()}
            speed = {"grad_norm": 1 + abs(math.sin(step)), "learning_rate": 1e-5 * (1 - step / (steps + 1))}
            found.append({"step": step, "split": "train", **noise, **speed})
        if step % 10 == 0:
            found.append({"step": step, "split": "eval", **values})
    return found


def make_run(
    path: Path,
    *,
    config: str = CONFIG,
    steps: int = 40,
    every: int = 5,
    pace: float = 1.0,
    ending: dict[str, Any] | None = None,
    failure: dict[str, Any] | None = None,
    **changes: Any,
) -> Path:
    """Write a run directory.

    Args:
        path: where.
        config: config.yaml.
        steps: of the run.
        every: steps between rows of the logs.
        pace: see `rows`.
        ending: summary.json; none is an unfinished run.
        failure: failure.json.
        changes: of sections of definition.json.
    """
    run = RunDirectory.create(path)
    run.write_config(config)
    run.write_definition(definition(**changes))
    for row in rows(steps, every, pace):
        run.append_metrics(row)
        if row["split"] == "train":
            timing = {"tokens_per_second": 9000.0, "pairs_per_second": 30.0, "seconds": 2.0}
            run.append_timing({"step": row["step"], **timing, "peak_memory_bytes": 2**30})
    if ending is not None:
        run.write_summary(ending)
    if failure is not None:
        run.write_failure(failure)
    return path


def edit_json(path: Path, change: Any) -> None:
    """Change a JSON file by a function of what it holds."""
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(content), encoding="utf-8")
