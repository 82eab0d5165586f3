"""No credential leaves a run, no pickle enters or leaves it, and nothing hostile reaches the terminal."""

from __future__ import annotations

import json
import pickle
import sys
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from orpo import train
from orpo.cli.messages import one_clear_message, show_traceback
from orpo.config import load_config
from tests.e2e.commands import Workspace, invoke, make_workspace, run_process
from tests.rows import rows

TOKEN = "hf_" + "aB3dE5gH7jK9mN1pQ3sT5vW7yZ9bC1eF3h"
KEY = "0123456789abcdef0123456789abcdef01234567"
"""Of Weights & Biases: only the environment tells that it is a credential."""


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path)


def files(folder: Path) -> Iterator[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_records_and_cards_have_no_credential_that_the_environment_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever brings one there, such as the message of a library."""
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    workspace = make_workspace(tmp_path / f"data-{KEY}")
    monkeypatch.chdir(workspace.folder)
    with monkeypatch.context() as patch:
        patch.delenv("WANDB_API_KEY")
        loaded = load_config(workspace.config)
    console = Console(file=StringIO())
    train(loaded, console=console)
    sealed = {"config.yaml", "manifest.json"}  # what a run goes on from has to be exact
    holding = {path.name for path in files(workspace.output) if KEY.encode() in path.read_bytes()}
    assert holding <= sealed


def test_a_credential_in_a_configuration_is_refused_and_never_echoed(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", KEY)
    overrides = (f"model={TOKEN}", f"output=runs/{TOKEN}", f"hub_token={KEY}", f"data.train=x?t={TOKEN}")
    for override in (*overrides, f"data.train=data-{KEY}/train.jsonl"):
        outcome = workspace.train(override)
        assert outcome.code == 2, override
        assert TOKEN not in outcome.err
        assert KEY not in outcome.err


def test_the_traceback_of_a_fault_of_ours_has_no_credential_and_no_escape_sequence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    try:
        raise ValueError(f"GET https://user:{KEY}@host/\x1b[2J?token={TOKEN}")
    except ValueError as error:
        show_traceback(type(error), error, error.__traceback__)
    shown = capsys.readouterr().err
    assert "ValueError: GET https://***@host/�[2J?token=***" in shown
    assert "Traceback" in shown


def test_that_is_what_the_command_shows() -> None:
    program = f"""
import sys
import orpo.cli.data as data
def fail(*arguments): raise RuntimeError("the token is {TOKEN}")
data.quiet_libraries = fail
from orpo.cli import main
sys.argv = ["orpo", "data", "check", "x"]
main()
"""
    outcome = run_process(sys.executable, "-c", program)
    assert outcome.code == 1
    assert outcome.err.endswith("RuntimeError: the token is ***\n")


def test_log_messages_have_no_credential(capsys: pytest.CaptureFixture[str]) -> None:
    import logging

    with one_clear_message():
        logging.getLogger("orpo.anything").warning("request to %s failed", f"https://h/?t={TOKEN}")
    assert "request to https://h/?t=*** failed" in capsys.readouterr().err


# Pickles


def is_pickle(path: Path) -> bool:
    """Whether a file could be read by pickle or torch.load."""
    start = path.read_bytes()[:4]
    return start[:1] == pickle.PROTO or start == b"PK\x03\x04"


def test_a_run_that_stops_and_goes_on_reads_and_writes_no_pickle(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: object, **options: object) -> None:
        pytest.fail("a pickle")

    for name in ("load", "save"):
        monkeypatch.setattr(torch, name, refuse)
    for name in ("load", "dump"):
        monkeypatch.setattr(pickle, name, refuse)
    cache = workspace.folder / "cache"
    settings = (f"data.cache={cache}", "training.checkpoint_every=2", "training.max_steps=4")
    with monkeypatch.context() as patch:
        patch.setattr("orpo.training.loop.requested", lambda: 15)
        assert workspace.train(*settings).code == 75
    assert workspace.train(*settings, "--resume", "auto").code == 0
    written = [*files(workspace.output), *files(cache)]
    assert len(written) > 15
    assert [path for path in written if is_pickle(path)] == []


def test_the_check_would_see_a_pickle(tmp_path: Path) -> None:
    torch.save({"a": torch.zeros(2)}, tmp_path / "torch")
    (tmp_path / "plain").write_bytes(pickle.dumps({"a": 1}))
    assert all(map(is_pickle, files(tmp_path)))


# Hostile text

HOSTILE = "\x1b]0;title\x07\x1b[31m<script>alert(1)</script>\u202e\u2028\ud800[red]*b*|$x$" + "y" * 5000


@pytest.mark.parametrize("verb", [("train",), ("data", "check"), ("data", "preview"), ("data", "build")])
def test_hostile_rows_reach_terminal_pages_and_cards_as_text(
    verb: tuple[str, ...], workspace: Workspace
) -> None:
    """In prompts, responses, names of columns and of files."""
    hostile = [row | {"prompt": f"{HOSTILE} {row['prompt']}", f"note{HOSTILE[:60]}": "x"} for row in rows(24)]
    data = workspace.folder / "\x1b[31mtrain\u202e[b].jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in hostile), encoding="utf-8")
    page, built = workspace.folder / "page.html", workspace.folder / "built"
    config = workspace.config.read_text().replace(str(workspace.folder / "train.jsonl"), "X")
    config = config.replace("  train: X", f"  train: {json.dumps(str(data))}\n  max_length: 120")
    workspace.config.write_text(config)
    arguments = {
        ("train",): [workspace.config, "training.max_steps=1", "data.eval=null"],
        ("data", "check"): [data, "--html", page],
        ("data", "preview"): [workspace.config, "--html", page],
        ("data", "build"): [data, "--output", built],
    }[verb]
    outcome = invoke(*verb, *arguments)
    for name in ("\x1b", "\x07", "\u202e", "\u2028", "\ud800"):
        assert name not in outcome.out + outcome.err
    if page.exists():
        text = page.read_text(encoding="utf-8")
        assert "<script>alert" not in text
        assert not any(character in text for character in "\x1b\x07\u202e\u2028")
    for card in [*built.glob("README.md"), *workspace.output.glob("model/README.md")]:
        text = card.read_text(encoding="utf-8")
        assert "<script>" not in text
        assert not any(character in text for character in "\x1b\x07\u202e\u2028")
