"""A user's mistake gets one message that says what and where, the right exit code, and costs nothing."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from transformers import BertConfig, BertForMaskedLM

from orpo.rundir import RunDirectory
from tests.e2e.commands import Outcome, Workspace
from tests.tiny import byte_tokenizer, save_tiny_model, tiny_llama

CONFIG, DATA, NUMERICS = 2, 3, 5


def assert_refused(outcome: Outcome, code: int, *parts: str) -> None:
    """One error with these parts, after nothing worse than the usual messages."""
    assert outcome.code == code, outcome.err
    before, marker, message = outcome.err.partition("error: ")
    assert marker
    assert "error: " not in message
    assert "Traceback" not in outcome.err
    assert outcome.out == ""
    assert before == "" or before.endswith("\n")
    for part in parts:
        assert part in message, f"{part!r} is not in:\n{message}"


def rewrite(path: Path, old: str, new: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


# Configuration


def test_all_mistakes_of_a_configuration_are_listed_at_once_with_their_lines(workspace: Workspace) -> None:
    rewrite(workspace.config, "batch_size: 8", "batchsize: 8")
    rewrite(workspace.config, "max_steps: 4", "max_steps: four")
    rewrite(workspace.config, "log_every: 1", "log_every: 1\n  log_every: 2")
    outcome = workspace.train("objective.lambda=-1")
    file = workspace.config
    assert_refused(
        outcome,
        CONFIG,
        f"{file}:6: unknown key `training.batchsize`: did you mean `training.batch_size`?",
        f'{file}:7: `training.max_steps`: expected a whole number > 0 or `null`, got the text "four"',
        f"{file}:10: duplicate key `training.log_every`, first given at line 9",
        "command line: `objective.lambda`: expected a number >= 0, got -1",
    )
    assert len(outcome.err.splitlines()) == 4
    assert not workspace.output.exists()


def test_a_missing_configuration_names_the_nearest_one(workspace: Workspace) -> None:
    workspace.config.rename(workspace.folder / "confg.yaml")
    assert_refused(workspace.train(), CONFIG, f"{workspace.config}: no such file", "confg.yaml")


def test_an_output_that_holds_another_run_is_refused_and_left_as_it_was(workspace: Workspace) -> None:
    assert workspace.train("training.max_steps=1").code == 0

    def content() -> dict[Path, tuple[int, bytes]]:
        files = [path for path in workspace.output.rglob("*") if path.is_file()]
        return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in files}

    before = content()
    outcome = workspace.train()
    assert_refused(outcome, CONFIG, f"output: {workspace.output} already holds another run", "output=PATH")
    assert "loading" not in outcome.err, "checked before the long preparations"
    assert content() == before


def test_max_length_above_the_models_positions_is_refused(workspace: Workspace) -> None:
    outcome = workspace.train("data.max_length=129")
    assert_refused(
        outcome, CONFIG, "data.max_length: expected at most the model's 128 positions, got 129", "=128"
    )


def test_settings_that_only_the_loop_can_refuse_leave_no_run_directory(workspace: Workspace) -> None:
    outcome = workspace.train("training.warmup=4")
    assert_refused(outcome, CONFIG, "training.warmup", "the whole run's 4, got 4")
    assert not workspace.output.exists()
    assert workspace.train("training.max_steps=1").code == 0, (
        "the corrected command works with the same output"
    )


# Models


def _masked(folder: Path) -> None:
    config = BertConfig(
        vocab_size=300, hidden_size=8, num_hidden_layers=1, num_attention_heads=2, intermediate_size=8
    )
    BertForMaskedLM(config).save_pretrained(folder)
    byte_tokenizer().save_pretrained(folder)


def _without_eos(folder: Path) -> None:
    save_tiny_model(folder)
    tokenizer = byte_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(folder)


def _cut_short(folder: Path) -> None:
    weights = save_tiny_model(folder) / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:5000])


def _pickled(folder: Path) -> None:
    (save_tiny_model(folder) / "model.safetensors").unlink()
    torch.save(tiny_llama(vocab_size=259).state_dict(), folder / "pytorch_model.bin")


@pytest.mark.parametrize(
    ("make", "parts"),
    [
        (_masked, ("expected a causal language model", "BertForMaskedLM")),
        (_without_eos, ("the tokenizer has no EOS token", "eos_token")),
        (_cut_short, ("cannot be loaded", "whole weights as .safetensors")),
        (_pickled, ("refused: pickle", "pytorch_model.bin", "python -c ")),
        (Path.mkdir, ("cannot be loaded", "config.json")),
        (lambda folder: None, ("no such folder", "Hub id")),
    ],
    ids=["masked", "no EOS", "cut short", "pickled", "empty folder", "missing"],
)
def test_a_model_that_cannot_be_trained_is_named_with_the_reason(
    make: Callable[[Path], object], parts: tuple[str, ...], workspace: Workspace
) -> None:
    folder = workspace.folder / "other"
    make(folder)
    names_folder = () if make is _without_eos else (str(folder),)
    assert_refused(workspace.train(f"model={folder}"), CONFIG, *names_folder, *parts)
    assert not workspace.output.exists()


def test_no_pad_token_is_no_mistake(workspace: Workspace) -> None:
    tokenizer = byte_tokenizer()
    tokenizer.pad_token = None
    tokenizer.save_pretrained(workspace.folder / "model")
    outcome = workspace.train()
    assert outcome.code == 0, outcome.err
    assert (
        json.loads((workspace.output / "model" / "tokenizer_config.json").read_text()).get("pad_token")
        is None
    )


@pytest.mark.parametrize("evaluation", ["data.eval=null", "data.eval=0.25"])
def test_weights_that_are_not_numbers_stop_the_run(evaluation: str, workspace: Workspace) -> None:
    model = tiny_llama(vocab_size=259)
    torch.nn.init.constant_(model.lm_head.weight, torch.nan)
    model.save_pretrained(workspace.folder / "model")
    assert_refused(workspace.train(evaluation), NUMERICS, "not finite (nan)")
    run = RunDirectory(workspace.output)
    assert run.read_summary()["status"] == "failed"
    assert run.read_metrics() == []


# Data


def test_a_missing_data_file_is_named_with_what_is_there_instead(workspace: Workspace) -> None:
    missing = workspace.folder / "trian.jsonl"
    outcome = workspace.train(f"data.train={missing}")
    assert_refused(outcome, CONFIG, f"no such file or folder: {missing}", "train.jsonl")


def test_a_corrupt_line_is_named_with_its_number(workspace: Workspace) -> None:
    train = workspace.folder / "train.jsonl"
    rewrite(train, '{"prompt": "16 + 17 =", "chosen"', '{"prompt": "16 + 17 =" "chosen"')
    assert_refused(
        workspace.train(), DATA, f"{train}:17: corrupt JSON", "Expecting ',' delimiter at column 24"
    )
    assert not workspace.output.exists()


def test_wrong_columns_are_shown_with_a_map_that_works_once_it_is_filled_in(workspace: Workspace) -> None:
    rows = [{"task": f"{i} + 1 =", "good": f" {i + 1}", "bad": f" {i}"} for i in range(24)]
    train = workspace.folder / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    outcome = workspace.train()
    assert_refused(outcome, DATA, f"{train}: the columns do not make preference pairs", "task", "FILL_IN")
    assert not workspace.output.exists()

    columns = {"messages": "task", "chosen": "good", "rejected": "bad"}
    overrides = (f"data.train.columns.{key}={value}" for key, value in columns.items())
    assert workspace.train(f"data.train.path={train}", *overrides, "training.max_steps=1").code == 0


def test_when_no_row_can_be_used_every_reason_is_counted(workspace: Workspace) -> None:
    pairs = [("a", "b", "b"), ("a", "", "b"), ("a", "c", "c")]
    rows = [dict(zip(("prompt", "chosen", "rejected"), pair, strict=True)) for pair in pairs]
    train = workspace.folder / "train.jsonl"
    train.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert_refused(
        workspace.train(),
        DATA,
        f"{train}: not one of 3 rows",
        f"2 identical responses (first: {train}:1)",
        f"1 empty response (first: {train}:2)",
    )


def test_when_no_pair_fits_the_reason_is_counted(workspace: Workspace) -> None:
    outcome = workspace.train("data.max_length=3")
    train = workspace.folder / "train.jsonl"
    assert_refused(
        outcome, DATA, f"prompt leaves no room for a response: 24 (first: {train}:1)", "data.max_length"
    )
    assert not workspace.output.exists()


# Hostile text


def test_escape_sequences_in_data_never_reach_the_terminal(workspace: Workspace) -> None:
    hostile = workspace.folder / "hostile.jsonl"
    hostile.write_text(json.dumps({"\x1b]0;title\x07\x1b[31mcolumn": "x"}) + "\n", encoding="utf-8")
    outcome = workspace.train(f"data.train={hostile}")
    assert outcome.code == 3
    assert "column" in outcome.err
    assert "\x1b" not in outcome.err
    assert "\x07" not in outcome.err
