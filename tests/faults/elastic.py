"""Runs that are killed and go on with another number of processes, beside one that was not."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false", HF_HUB_OFFLINE="1")

import numpy as np
from safetensors.numpy import load_file

from orpo.rundir import RunDirectory
from tests.faults.killing import KILLED
from tests.faults.runs import Bench, Kill


def main() -> None:
    """Print how far weights and losses are from those of the run that was not killed, relatively."""
    with tempfile.TemporaryDirectory(prefix="orpo-faults-") as folder:
        os.environ["ORPO_CACHE"] = f"{folder}/cache"
        alone, together = (Bench(Path(folder), processes, dropout=0.0) for processes in (1, 2))
        alone.prepare()
        whole = Path(folder) / "whole"
        assert alone.run(whole) == [0]
        results: dict[str, object] = {}
        for name, before, after in (("1 to 2", alone, together), ("2 to 1", together, alone)):
            run = Path(folder) / name
            codes = before.run(run, kill=Kill(step=13))
            assert codes[0] == KILLED, codes
            codes = after.run(run, resume=True)
            log = run.with_suffix(".log").read_text(encoding="utf-8")
            assert not any(codes), log[-3000:]
            results[name] = {"weights": _weights(run, whole), "losses": _losses(run, whole), "log": log}
    sys.stdout.write(json.dumps(results) + "\n")


def _weights(run: Path, whole: Path) -> float:
    """The largest difference of a tensor, relative to the tensor."""
    file = "checkpoints/step-20/parameters.safetensors"
    one, other = load_file(run / file), load_file(whole / file)
    assert one.keys() == other.keys()
    return max(float(np.linalg.norm(one[name] - other[name]) / np.linalg.norm(other[name])) for name in one)


def _losses(run: Path, whole: Path) -> float:
    """The largest relative difference of a row's loss; the rows must be of the same steps."""
    one, other = (RunDirectory(path).read_metrics() for path in (run, whole))
    assert [(row["step"], row["split"]) for row in one] == [(row["step"], row["split"]) for row in other]
    return max(
        abs(left["loss"] - right["loss"]) / right["loss"] for left, right in zip(one, other, strict=True)
    )


if __name__ == "__main__":
    main()
