"""What is on record of a command can be typed again, and gives no secret away."""

from __future__ import annotations

import pytest

from orpo.rundir.command import command_line


@pytest.mark.parametrize(
    ("arguments", "environment", "line"),
    [
        (["/opt/bin/orpo", "train", "my run.yaml", "a=1"], {}, "orpo train 'my run.yaml' a=1"),
        (["/opt/orpo/__main__.py", "eval", "run"], {}, "orpo eval run"),
        (
            ["/opt/orpo/__main__.py", "train", "c.yaml"],
            {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"},
            "torchrun --nproc-per-node 2 -m orpo train c.yaml",
        ),
        (["train_all.py", "--seed", "3"], {}, "python train_all.py --seed 3"),
        (["-c"], {}, "python -c"),
    ],
    ids=["installed", "module", "several processes", "a script", "a string"],
)
def test_the_line_is_the_command(arguments: list[str], environment: dict[str, str], line: str) -> None:
    assert command_line(arguments, environment) == line


def test_credentials_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "open sesame and more")
    arguments = [
        "orpo",
        "eval",
        "x",
        "--url",
        "http://me:pass4word@host/v1",
        "--note",
        "open sesame and more",
    ]
    line = command_line(arguments, {})
    assert "pass4word" not in line
    assert "sesame" not in line
    assert line.count("***") == 2
