"""`orpo train`, and `orpo.train` from Python, from files to a model that plain transformers loads."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import AutoPeftModelForCausalLM
from torch import Tensor
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    TrainerCallback,
    TrainerControl,
    TrainerState,
    TrainingArguments,
    pipeline,
)

from orpo import load_config, train
from orpo.config import parse_config
from orpo.rundir import RunDirectory
from tests.e2e.commands import ORPO, Outcome, Workspace, invoke, make_workspace, run_process
from tests.paths import SHARED, needs_shared
from tests.rows import rows
from tests.unit.training.test_loop import METRICS

IDS = torch.tensor([[5, 6, 7, 8, 9]])


def logits(model: Any) -> Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def mapping(workspace: Workspace, **sections: Any) -> dict[str, Any]:
    """A configuration for the Python door, two steps long; `sections` replace whole sections."""
    return {
        "model": str(workspace.folder / "model"),
        "data": {"train": str(workspace.folder / "train.jsonl")},
        "training": {"batch_size": 8, "max_steps": 2, "learning_rate": 1e-2, "log_every": 1, "warmup": 0},
        "output": str(workspace.output),
    } | sections


# One run as a process of its own, looked at from all sides


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workspace, Outcome]:
    workspace = make_workspace(tmp_path_factory.mktemp("a folder whose path is too long for one line" * 3))
    outcome = run_process(ORPO, "train", workspace.config, "objective.lambda=0.2", "--json")
    assert outcome.code == 0, outcome.err
    return workspace, outcome


@pytest.fixture(scope="module")
def run(finished: tuple[Workspace, Outcome]) -> RunDirectory:
    return RunDirectory(finished[0].output)


def test_the_run_directory_is_complete(run: RunDirectory) -> None:
    files = {"manifest.json", "optimizer.safetensors", "parameters.safetensors", "state.json"}
    files |= {"rank-0.json", "rank-0.safetensors"}
    assert {str(path.relative_to(run.path)) for path in run.path.rglob("*") if path.is_file()} == {
        *(f"checkpoints/step-{step}/{file}" for step in (3, 4) for file in files),
        "config.yaml",
        "definition.json",
        "metrics.jsonl",
        "timing.jsonl",
        "summary.json",
        "model/README.md",
        "model/config.json",
        "model/generation_config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
        "model/tokenizer_config.json",
    }


def test_metrics_have_every_logged_step_and_every_evaluation_from_step_0(run: RunDirectory) -> None:
    found = run.read_metrics()
    assert [(row["split"], row["step"]) for row in found] == [
        ("eval", 0),
        ("train", 1),
        ("train", 2),
        ("eval", 2),
        ("train", 3),
        ("train", 4),
        ("eval", 4),
    ]
    for row in found:
        extra = {"grad_norm", "learning_rate"} if row["split"] == "train" else set[str]()
        assert set(row) == {"step", "split"} | METRICS | extra
        assert row["rewards/chosen"] == pytest.approx(0.2 * row["logps/chosen"])
        assert row["loss"] == pytest.approx(row["nll_loss"] - 0.2 * row["log_odds_ratio"])
    timing = [json.loads(line)["step"] for line in (run.path / "timing.jsonl").read_text().splitlines()]
    assert timing == [1, 2, 3, 4]


def test_training_learned_something(run: RunDirectory) -> None:
    first, *_, last = run.read_metrics("eval")
    assert last["loss"] < first["loss"]
    assert last["log_odds_chosen"] > first["log_odds_chosen"]


def test_the_definition_says_what_was_optimised_on_what_with_what(
    run: RunDirectory, finished: tuple[Workspace, Outcome]
) -> None:
    definition, folder = run.read_definition(), finished[0].folder
    objective = definition["objective"]
    assert objective | {"title": "", "formula": ""} == {
        "name": "orpo",
        "definition": "paper",
        "nll_turns": "final",
        "lambda": 0.2,
        "contrast": "odds",
        "title": "",
        "formula": "",
    }
    assert "arXiv:2403.07691" in objective["title"]
    assert definition["template"] == {"name": "none", "sha256": None}
    assert definition["model"]["name"] == str(folder / "model")
    assert definition["model"]["parameters"] == definition["model"]["trainable_parameters"] > 10_000
    for use, count in (("train", 24), ("eval", 6)):
        (source,) = definition["data"][use]
        assert source["path"] == str(folder / f"{use}.jsonl")
        assert source["shape"] == "strings"
        assert (source["read"], source["kept"], source["dropped"]) == (count, count, {})
        assert source["fingerprint"].startswith("sha256:")
    assert definition["data"]["train"][0]["fingerprint"] != definition["data"]["eval"][0]["fingerprint"]
    assert definition["engine"]["layout"] == "shared"
    for package in ("orpo", "torch", "transformers", "peft", "datasets", "tokenizers"):
        assert definition["versions"][package] == version(package)


def test_the_summary_holds_the_last_rows_and_the_counts(run: RunDirectory) -> None:
    summary = run.read_summary()
    assert (summary["status"], summary["steps"], summary["model_step"]) == ("finished", 4, 4)
    without_place = [
        {name: value for name, value in row.items() if name not in ("step", "split")}
        for row in (run.read_metrics("train")[-1], *run.read_metrics("eval"))
    ]
    assert summary["train"] == without_place[0]
    assert summary["eval"] == {"first": without_place[1], "last": without_place[-1]}
    assert summary["max_tokens"] == [{"step": 0, "tokens": 4096, "why": "speed cap"}]
    assert summary["rows"]["tokens"]["train"] == {"read": 24, "kept": 24, "dropped": {}, "notes": {}}
    assert summary["wall_seconds"] > 0


def test_the_stored_configuration_loads_to_the_same_one_and_says_where_values_came_from(
    run: RunDirectory, finished: tuple[Workspace, Outcome]
) -> None:
    stored = run.path / "config.yaml"
    assert load_config(stored).config == load_config(finished[0].config, ["objective.lambda=0.2"]).config
    lines = {line.split(":")[0].strip(): line for line in stored.read_text().splitlines()}
    assert lines["lambda"].endswith("# command line")
    assert lines["batch_size"].endswith(f"# {finished[0].config}:6")
    assert lines["adam_beta1"].endswith("# default")


def test_json_is_the_summary_and_all_of_stdout(
    run: RunDirectory, finished: tuple[Workspace, Outcome]
) -> None:
    stored = run.read_summary()
    del stored["schema_version"]
    assert json.loads(finished[1].out) == stored


def test_without_a_terminal_progress_is_plain_lines_and_libraries_are_quiet(
    finished: tuple[Workspace, Outcome],
) -> None:
    workspace, outcome = finished
    assert not set("\x1b\r") & set(outcome.err)
    lines = outcome.err.splitlines()
    kinds = (
        "loading ",
        "model written ",
        "train: ",
        "eval: ",
        "  example ",
        "    ",
        "model: ",
        "objective: ",
        "max_tokens: ",
        "step ",
    )
    assert [line for line in lines if not line.startswith(kinds)] == []
    (step,) = [line for line in lines if line.startswith("step 4/4  train")]
    for part in ("loss ", "accuracy ", "margin ", " pairs/s", " left"):
        assert part in step
    detected = f"train: {workspace.folder / 'train.jsonl'}: detected: strings ("
    assert any(line.startswith(detected) for line in lines)
    assert "train: 24 of 24 rows kept" in lines
    assert "    chosen     1" in lines
    assert lines[-1] == f"model written to {workspace.output / 'model'}"


def test_python_m_orpo_is_orpo() -> None:
    command, module = run_process(ORPO, "--help"), run_process(sys.executable, "-m", "orpo", "--help")
    assert command == module
    assert command.code == 0
    assert "train" in command.out


# The saved model


def test_the_model_loads_in_transformers_to_the_logits_of_the_trained_one(workspace: Workspace) -> None:
    result = train(mapping(workspace))
    loaded = AutoModelForCausalLM.from_pretrained(result.path / "model", dtype=torch.float32)
    assert torch.equal(logits(loaded), logits(result.model))
    start = AutoModelForCausalLM.from_pretrained(workspace.folder / "model", dtype=torch.float32)
    assert not torch.allclose(logits(loaded), logits(start), atol=1e-2)
    assert (
        AutoTokenizer.from_pretrained(result.path / "model")("2 + 2 =").input_ids
        == result.tokenizer("2 + 2 =").input_ids
    )


def conversations(count: int) -> list[dict[str, Any]]:
    """The rows of `rows` as conversations, the system turn's included."""
    return [
        {
            "prompt": [
                {"role": "system", "content": "Add."},
                {"role": "user", "content": row["prompt"]},
            ],
            "chosen": [{"role": "assistant", "content": row["chosen"].strip()}],
            "rejected": [{"role": "assistant", "content": row["rejected"].strip()}],
        }
        for row in rows(count)
    ]


def test_a_model_trained_on_conversations_chats_with_its_template(workspace: Workspace) -> None:
    result = train(mapping(workspace), train_rows=conversations(24))
    definition = RunDirectory(result.path).read_definition()
    tokenizer = AutoTokenizer.from_pretrained(result.path / "model")
    assert definition["template"]["name"] == "transcript"
    assert definition["template"]["sha256"] == hashlib.sha256(tokenizer.chat_template.encode()).hexdigest()

    messages = conversations(1)[0]["prompt"]
    rendered = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    assert rendered == "Add.\n\nHuman: 0 + 1 =\n\nAssistant:"
    generator = pipeline("text-generation", model=str(result.path / "model"))
    (answer,) = generator(messages, max_new_tokens=5, do_sample=False)
    ids = tokenizer(rendered, return_tensors="pt")
    trained: Any = result.model.eval()
    expected = trained.generate(**ids, max_new_tokens=5, do_sample=False)
    continuation = tokenizer.decode(expected[0, ids["input_ids"].shape[1] :], skip_special_tokens=True)
    assert answer["generated_text"][-1] == {"role": "assistant", "content": continuation}


def test_a_lora_run_saves_the_adapter_and_merges_on_request(workspace: Workspace) -> None:
    outputs: list[Tensor] = []
    for merge in (False, True):
        model = {"name": str(workspace.folder / "model"), "lora": {"r": 4, "alpha": 32, "merge": merge}}
        result = train(mapping(workspace, model=model, output=str(workspace.folder / f"merged {merge}")))
        trained = RunDirectory(result.path).read_definition()["model"]
        assert 0 < trained["trainable_parameters"] < trained["parameters"] / 4
        saved = result.path / "model"
        assert (saved / "adapter_model.safetensors").exists() is not merge
        assert (saved / "model.safetensors").exists() is merge
        loader = AutoModelForCausalLM if merge else AutoPeftModelForCausalLM
        loaded = loader.from_pretrained(saved, dtype=torch.float32)
        torch.testing.assert_close(logits(loaded), logits(result.model), rtol=1e-5, atol=1e-5)
        outputs.append(logits(loaded))
    base = AutoModelForCausalLM.from_pretrained(workspace.folder / "model", dtype=torch.float32)
    torch.testing.assert_close(*outputs, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(outputs[0], logits(base), atol=1e-3)


def test_the_model_card_states_definition_lambda_counts_and_metrics(workspace: Workspace) -> None:
    assert workspace.train("objective.definition=trl").code == 0
    card = (workspace.output / "model" / "README.md").read_text()
    assert "lambda = 0.1" in card
    assert "definition = trl" in card
    assert "| train | train.jsonl |  | 24 | 24 | 0 |" in card
    assert "* eval: 6 of 6" in card
    last = RunDirectory(workspace.output).read_metrics("eval")[-1]
    assert f"{last['rewards/accuracies']:.4f} |" in card
    assert str(workspace.folder) not in card, "a card is published; where it was trained is nobody's business"


# Data


def test_eval_as_a_fraction_holds_out_pairs(workspace: Workspace) -> None:
    outcome = workspace.train("data.eval=0.25", "training.max_steps=1")
    assert "eval: 6 of these examples held out" in outcome.err
    used = RunDirectory(workspace.output).read_summary()["rows"]["used"]
    assert used == {
        "train": {"pairs": 18, "singles": 0, "of_no_use": 0},
        "eval": {"pairs": 6, "singles": 0, "of_no_use": 0},
    }


def test_rows_that_cannot_be_used_are_counted_and_the_others_trained_on(workspace: Workspace) -> None:
    train_file = workspace.folder / "train.jsonl"
    same = {"prompt": "x", "chosen": "y", "rejected": "y"}
    long = {"prompt": "x" * 200, "chosen": "y", "rejected": "z"}
    with train_file.open("a") as file:
        file.write(json.dumps(same) + "\n" + json.dumps(long) + "\n")
    outcome = workspace.train("training.max_steps=1")
    reason = "prompt leaves no room for a response"
    lines = outcome.err.splitlines()
    assert lines[lines.index("train: 25 of 26 rows kept") + 1] == (
        f"  dropped 1: identical responses (first: {train_file}:25)"
    )
    assert lines[lines.index("train: 24 of 25 examples kept at max_length 128") + 1] == (
        f"  dropped 1: {reason} (first: {train_file}:26)"
    )
    counted = RunDirectory(workspace.output).read_summary()["rows"]
    assert counted["train"][0]["dropped"] == {"identical responses": 1}
    assert counted["tokens"]["train"]["dropped"] == {reason: 1}


@needs_shared
def test_hh_transcripts_train_with_a_template(workspace: Workspace) -> None:
    source = SHARED / "data" / "hh_rlhf_harmless" / "train.jsonl"
    lines = source.read_text(encoding="utf-8").splitlines(keepends=True)[:12]
    few = workspace.folder / "hh.jsonl"
    few.write_text("".join(lines), encoding="utf-8")
    model = SHARED / "models" / "stories260k"
    outcome = workspace.train(
        f"model={model}", f"data.train={few}", "data.eval=0.2", "data.max_length=200", "training.max_steps=1"
    )
    assert outcome.code == 0, outcome.err
    assert "detected: transcripts (" in outcome.err
    assert "prompt    [user] " in outcome.err
    definition = RunDirectory(workspace.output).read_definition()
    assert definition["template"]["sha256"] is not None
    tokens = definition["data"]["tokens"].values()
    assert sum(counts["read"] for counts in tokens) == 12
    assert all(counts["kept"] + sum(counts["dropped"].values()) == counts["read"] for counts in tokens)


# The Python door


def test_train_takes_rows_in_memory_a_mapping_and_callbacks_and_prints_nothing(
    workspace: Workspace, capsys: pytest.CaptureFixture[str]
) -> None:
    losses: list[float] = []

    class Losses(TrainerCallback):
        def on_log(
            self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
        ) -> None:
            losses.append(kwargs["logs"].get("loss"))

    config = mapping(workspace, data={"train": "rows"})
    result = train(config, train_rows=iter(rows(20)), eval_rows=rows(4), callbacks=[Losses()])
    assert result.path == workspace.output
    assert result.summary["rows"]["train"][0]["path"] == "rows in memory"
    assert result.summary["rows"]["tokens"]["eval"]["kept"] == 4
    assert [loss for loss in losses if loss is not None] == [
        row["loss"] for row in RunDirectory(result.path).read_metrics("train")
    ]
    assert capsys.readouterr().out == ""


def test_train_takes_a_path_a_mapping_or_either_of_them_loaded(workspace: Workspace) -> None:
    config = mapping(workspace)
    forms = [
        workspace.config,
        str(workspace.config),
        config,
        parse_config(config).config,
        load_config(workspace.config, ["training.max_steps=1", f"output={workspace.folder / '4'}"]),
    ]
    for i, form in enumerate(forms):
        overrides = ["training.max_steps=1", f"output={workspace.folder / str(i)}"] if i < 4 else []
        result = train(form, overrides=overrides)
        assert (result.path, result.summary["steps"]) == (workspace.folder / str(i), 1)


def test_the_same_configuration_gives_the_same_metrics_and_weights(workspace: Workspace) -> None:
    first, second = (train(mapping(workspace, output=str(workspace.folder / name))) for name in "ab")
    assert (first.path / "metrics.jsonl").read_bytes() == (second.path / "metrics.jsonl").read_bytes()
    weights: list[Mapping[str, Tensor]] = [result.model.state_dict() for result in (first, second)]
    assert all(torch.equal(tensor, weights[1][name]) for name, tensor in weights[0].items())


def test_help_shows_an_example() -> None:
    outcome = invoke("train", "--help")
    assert outcome.code == 0
    assert "Example: orpo train config.yaml objective.lambda=0.2 output=runs/second" in outcome.out
    assert "key=value" in outcome.out


def test_the_output_path_may_have_spaces_and_be_relative(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(workspace.folder)
    assert workspace.train("training.max_steps=1", "output=my runs/first").code == 0
    assert (Path("my runs") / "first" / "summary.json").exists()
