"""What a run says and writes about itself."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import pytest
from transformers import TrainerCallback

from orpo.run import TrainingResult, record, train
from orpo.rundir import RunDirectory
from orpo.rundir.records import read_run
from tests.rows import rows
from tests.tiny import save_tiny_model


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return save_tiny_model(tmp_path / "base")


def run(base: Path, *overrides: str, **more: Any) -> TrainingResult:
    """Two steps over 16 pairs, into `run` beside the model."""
    config = {
        "model": str(base),
        "data": {"train": "rows"},
        "training": {"batch_size": 8, "max_steps": 2, "log_every": 1},
        "output": str(base.with_name("run")),
    }
    return train(config, overrides=overrides, train_rows=rows(16), **more)


def test_what_changes_only_rounding_is_on_record(base: Path) -> None:
    chosen = run(base).summary["max_tokens"]
    assert chosen == [{"step": 0, "tokens": 4096, "why": "speed cap"}]
    assert RunDirectory(base.with_name("run")).read_definition()["engine"] == {
        "device": "cpu",
        "processes": 1,
        "parallel": "ddp",
        "precision": "float32",
        "layout": "shared",
        "head": "fused",
        "compile": False,
        "threads": 1,
        "max_tokens": 4096,
    }


def test_each_command_is_on_record_without_secrets(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Stop(TrainerCallback):
        def on_save(self, *args: object, **kwargs: object) -> None:
            raise EOFError

    monkeypatch.setattr(sys, "argv", ["orpo", "train", "http://me:pass4word@host/config.yaml"])
    with pytest.raises(EOFError):
        run(base, "training.checkpoint_every=1", callbacks=[Stop()])
    monkeypatch.setattr(sys, "argv", ["orpo", "train", "config.yaml", "--resume", "auto"])
    run(base, "training.checkpoint_every=1", resume="auto")
    assert read_run(base.with_name("run")).definition.commands == (
        "orpo train http://***@host/config.yaml",
        "orpo train config.yaml --resume auto",
    )


def test_what_is_about_to_happen_is_announced(base: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, logger="orpo"):
        run(base, "training.max_tokens=20", "objective.lambda=0.25", "objective.definition=trl")
    assert "objective: orpo, definition trl, nll_turns final, lambda 0.25, contrast odds" in caplog.text
    assert "8 pairs per step, max_tokens 20, layout shared" in caplog.text
    assert "float32 products" in caplog.text
    # A shared row holds the bytes of all three texts, and an EOS after each response.
    held = [len(row["prompt"] + row["chosen"] + row["rejected"]) + 2 for row in rows(16)]
    alone = sum(tokens > 20 for tokens in held)
    assert 0 < alone < 16
    assert f"{alone} pairs exceed training.max_tokens and run alone" in caplog.text


@pytest.mark.parametrize(
    ("has_bfloat16", "precision", "advice"),
    [
        (True, "auto", "this processor has bfloat16: training.precision=bfloat16 makes steps faster"),
        (False, "bfloat16", "this processor emulates bfloat16: training.precision=float32 is faster"),
    ],
)
def test_the_processor_s_bfloat16_is_advised_on(
    base: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    has_bfloat16: bool,
    precision: str,
    advice: str,
) -> None:
    monkeypatch.setattr(record, "processor_has_bfloat16", lambda: has_bfloat16)
    monkeypatch.setattr(record, "SMALL_MODEL", 0)
    with caplog.at_level(logging.INFO, logger="orpo"):
        run(base, f"training.precision={precision}")
    assert advice in caplog.text
