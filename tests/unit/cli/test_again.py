"""The line that goes on with a run can be typed as it is."""

from __future__ import annotations

import pytest

from orpo.cli.again import how_to_resume


@pytest.mark.parametrize(
    ("environment", "line"),
    [
        ({}, "orpo train 'my run.yaml' training.seed=3 --resume auto"),
        (
            {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            "torchrun --nproc-per-node 2 -m orpo train 'my run.yaml' training.seed=3 --resume auto",
        ),
        (
            {"WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "2"},
            "torchrun, on every node as before, -m orpo train 'my run.yaml' training.seed=3 --resume auto",
        ),
    ],
    ids=["one process", "several on a machine", "several machines"],
)
def test_the_line_repeats_the_command(environment: dict[str, str], line: str) -> None:
    assert how_to_resume("my run.yaml", ["training.seed=3"], environment) == line
