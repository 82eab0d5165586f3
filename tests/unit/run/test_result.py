"""What is left of a run that was complete before is read from its directory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orpo.errors import CheckpointError
from orpo.run import TrainingResult, train
from tests.rows import rows
from tests.tiny import save_tiny_model


def run(folder: Path, **model: object) -> TrainingResult:
    base = folder / "base"
    if not base.exists():
        save_tiny_model(base)
    return train(
        {
            "model": {"name": str(base), **model},
            "data": {"train": "rows"},
            "training": {"batch_size": 8, "max_steps": 2, "learning_rate": 1e-2},
            "output": str(folder / "run"),
        },
        train_rows=rows(8),
        resume="auto",
    )


@pytest.mark.parametrize("model", [{}, {"lora": {"r": 2}}], ids=["whole", "adapters"])
def test_a_complete_run_gives_the_same_model(tmp_path: Path, model: dict[str, object]) -> None:
    first, again = run(tmp_path, **model), run(tmp_path, **model)
    ids = torch.tensor([[5, 6, 7, 8]])
    with torch.no_grad():
        expected, found = (result.model.eval()(input_ids=ids).logits for result in (first, again))
    assert torch.equal(found, expected)
    assert {name: again.summary[name] for name in first.summary} == first.summary


def test_an_adapter_that_is_gone_is_not_looked_for_as_a_pickle(tmp_path: Path) -> None:
    run(tmp_path, lora={"r": 2})
    folder = tmp_path / "run/model"
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    result = run(tmp_path, lora={"r": 2})
    with pytest.raises(CheckpointError, match=r"has no adapter_model\.safetensors"):
        _ = result.model
