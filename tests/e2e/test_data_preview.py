"""`orpo data preview` shows the very tensors that `orpo train` gives the model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orpo.batch import MicroBatch
from orpo.training.batches import Batches
from tests.e2e.commands import HEAVY_MODULES, Workspace, invoke, modules_loaded_by

Token = tuple[int, int, int]
"""Row, column, id."""


def record(workspace: Workspace, *arguments: str) -> dict[str, Any]:
    outcome = invoke("data", "preview", workspace.config, *arguments, "--json")
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


@pytest.fixture
def mixture(workspace: Workspace) -> Workspace:
    """A workspace that trains on 18 conversations of two turns and 6 demonstrations."""

    def turn(role: str, content: str) -> dict[str, str]:
        return {"role": role, "content": content}

    def conversation(i: int) -> list[dict[str, str]]:
        return [turn("user", f"{i}?"), turn("assistant", "y" * (i % 5 + 1)), turn("user", "and?")]

    pairs = [
        {
            "chosen": [*conversation(i), turn("assistant", "é" * (i % 3 + 1))],
            "rejected": [*conversation(i), turn("assistant", "no")],
        }
        for i in range(18)
    ]
    singles = [{"messages": [*conversation(i), turn("assistant", f"{i}!")]} for i in range(6)]
    for name, rows in (("train", pairs), ("singles", singles)):
        text = "".join(json.dumps(row) + "\n" for row in rows)
        (workspace.folder / f"{name}.jsonl").write_text(text, encoding="utf-8")
    config = workspace.config.read_text(encoding="utf-8")
    sources = f"[{workspace.folder / 'train.jsonl'}, {workspace.folder / 'singles.jsonl'}]"
    workspace.config.write_text(
        config.replace(f"train: {workspace.folder / 'train.jsonl'}", f"train: {sources}"), encoding="utf-8"
    )
    return workspace


def first_micro_batch(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, *overrides: str) -> MicroBatch:
    """The first one that the model is given for training on all pairs at once, in the file's order."""
    given: list[MicroBatch] = []
    original = Batches.micro_batches

    def recording(self: Batches, *arguments: Any) -> list[MicroBatch]:
        given.extend(original(self, *arguments))
        return given

    monkeypatch.setattr(Batches, "micro_batches", recording)
    settings = ("training.batch_size=24", "training.max_tokens=100000", "training.max_steps=1")
    assert workspace.train("training.shuffle=false", *settings, *overrides).code == 0
    return given[0]


def held(batch: MicroBatch) -> set[Token]:
    """Every place of the batch with its id, padding included."""
    return {
        (row, column, id_)
        for row, ids in enumerate(batch.input_ids.tolist())
        for column, id_ in enumerate(ids)
    }


@pytest.mark.parametrize("objective", ["definition=paper", "definition=trl", "nll_turns=all"])
@pytest.mark.parametrize("layout", ["auto", "packed", "padded"])
def test_the_preview_agrees_with_the_tensors_of_training(
    mixture: Workspace, monkeypatch: pytest.MonkeyPatch, objective: str, layout: str
) -> None:
    overrides = (f"objective.{objective}", f"training.layout={layout}")
    batch = first_micro_batch(mixture, monkeypatch, *overrides)
    shown = record(mixture, *overrides, "--count", "24")
    assert (shown["split"]["pairs"], shown["split"]["singles"]) == (18, 6)

    tokens = [token for example in shown["examples"] for token in example["tokens"]]
    shown_places = {(token["row"], token["column"], token["id"]) for token in tokens}
    assert shown_places <= held(batch)
    if layout == "auto":
        assert shown_places == held(batch)
    in_terms = [token for token in tokens if token["in_nll"] or token["in_preference"]]
    assert sorted(token["id"] for token in in_terms) == sorted(batch.targets.tolist())
    for kind, segment in enumerate(("chosen", "rejected", "prompt")):
        for pair, example in enumerate(shown["examples"]):
            number = sum(token["segment"] == segment for token in example["tokens"] if token in in_terms)
            assert number == batch.counts[kind, pair]
    micro_batch = shown["micro_batch"]
    assert (micro_batch["rows"], micro_batch["columns"]) == tuple(batch.input_ids.shape)
    assert micro_batch["scored"] == len(batch.targets)


def test_the_table_shows_segments_terms_and_special_tokens(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    outcome = invoke(
        "data", "preview", workspace.config, "--row", "train.jsonl:3", "objective.definition=trl"
    )
    assert outcome.code == 0
    lines = [line.rstrip() for line in outcome.out.splitlines()]
    start = lines.index(next(line for line in lines if line.endswith("train.jsonl:3 (pair, weight 1)")))
    assert lines[start + 1 :] == [
        "prompt: 7 tokens (1 in no term of the loss, 6 in the NLL)",
        "     │ 2",
        "  N  │ ·╎+╎·╎3╎·╎=",
        "chosen: 3 tokens in the NLL and the preference term",
        "  NP │ ·╎5╎⟨</s> 2⟩",
        "rejected: 9 tokens in the preference term",
        "   P │ ·╎a╎b╎o╎u╎t╎·╎6╎⟨</s> 2⟩",
    ]


def test_the_page_is_written_beside_what_is_printed(workspace: Workspace, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    outcome = invoke("data", "preview", workspace.config, "--split", "eval", "--html", page)
    assert outcome.code == 0
    assert "eval.jsonl:1" in outcome.out.replace("\n", "")  # a long path is wrapped
    assert "eval.jsonl:1" in page.read_text(encoding="utf-8")
    assert "<script" not in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (["nowhere.yaml"], 2, "no such file"),
        (["{config}", "objective.nonsense=1"], 2, "objective.nonsense"),
        (["{config}", "--row", "train.jsonl:99"], 3, "no train example comes from train.jsonl:99"),
        (["{config}", "data.eval=null", "--split", "eval"], 2, "data.eval is not set"),
        (["{config}", "model=./nowhere"], 2, "no such folder"),
        (["{config}", "data.max_length=200"], 2, "128 positions"),
        (["{config}", "--html", "/nowhere/at/all.html"], 2, "--html: cannot write"),
        (["{config}", "--count", "0"], 2, "--count"),
        (["{config}", "--layout", "round"], 2, "--layout"),
    ],
)
def test_a_mistake_is_one_message(workspace: Workspace, arguments: list[str], code: int, part: str) -> None:
    outcome = invoke("data", "preview", *(argument.format(config=workspace.config) for argument in arguments))
    assert outcome.code == code
    assert part in outcome.err
    assert outcome.out == ""


def test_hostile_rows_are_inert_in_every_output(workspace: Workspace, tmp_path: Path) -> None:
    hostile = "<script>alert(1)</script> \x1b[31mred \u202e\x00 [bold]b[/bold]"
    row = {"prompt": hostile, "chosen": "yes", "rejected": "no"}
    (workspace.folder / "train.jsonl").write_text(json.dumps(row), encoding="utf-8")
    page = tmp_path / "page.html"
    table = invoke("data", "preview", workspace.config, "--html", page)
    json_ = invoke("data", "preview", workspace.config, "--json")
    for shown in (table.out, table.err, json_.out, json_.err, page.read_text(encoding="utf-8")):
        for character in "\x1b\u202e\x00":
            assert character not in shown
    assert "<script" not in page.read_text(encoding="utf-8")
    (example,) = json.loads(json_.out)["examples"]
    assert "".join(t["text"] or "" for t in example["tokens"] if t["segment"] == "prompt") == hostile


def test_stdout_is_the_preview_alone_and_has_no_colours_where_there_is_no_terminal(
    workspace: Workspace,
) -> None:
    outcome = invoke("data", "preview", workspace.config)
    assert outcome.out.startswith("model ")
    assert "24 of 24" in outcome.err
    assert "\x1b" not in outcome.out + outcome.err


@pytest.mark.parametrize("no_color", [False, True])
def test_a_terminal_gets_colours_unless_no_color_is_set(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, no_color: bool
) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")  # rich takes what it writes to for a terminal
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_color:
        monkeypatch.setenv("NO_COLOR", "1")
    outcome = invoke("data", "preview", workspace.config, "--count", "1")
    assert outcome.code == 0
    assert ("38;2;" in outcome.out) is not no_color
    assert "\x1b[" in outcome.out  # bold stays
    assert "NP │ " in outcome.out


def test_help_has_an_example_and_imports_no_torch() -> None:
    assert "Example: orpo data preview config.yaml" in invoke("data", "preview", "--help").out
    loaded = modules_loaded_by("data", "preview", "--help")
    assert "orpo.cli.preview" in loaded
    assert not loaded & HEAVY_MODULES
