"""`orpo eval`: a run, a model or a server, interrupted and taken up again, from files to figures."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from orpo.judging.outputs import read_system
from orpo.rundir import RunDirectory
from orpo.rundir.evaluations import EvaluationDirectory, ResponseRow, read_evaluation
from tests.e2e.commands import (
    HEAVY_MODULES,
    ORPO,
    Outcome,
    Workspace,
    invoke,
    make_workspace,
    modules_loaded_by,
    run_process,
)
from tests.judge_server import Answer, Asked, judge_server
from tests.rows import write_rows
from tests.tiny import save_tiny_model

PROMPTS = [f"{n} + 1 =" for n in range(7)]
SAMPLED = ("--samples", "3", "--temperature", "1", "--max-new-tokens", "6", "--json")


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A trained run, and a file of prompts."""
    workspace = make_workspace(tmp_path_factory.mktemp("eval"))
    assert workspace.train().code == 0
    lines = [json.dumps({"instruction": prompt, "dataset": "sums"}) + "\n" for prompt in PROMPTS]
    (workspace.folder / "prompts.jsonl").write_text("".join(lines), encoding="utf-8")
    return workspace


@pytest.fixture(scope="module")
def evaluated(workspace: Workspace) -> Outcome:
    """Its own evaluation, by a process of its own."""
    outcome = run_process(ORPO, "eval", workspace.output, "--max-new-tokens", "8")
    assert outcome.code == 0, outcome.err
    return outcome


def evaluate(*arguments: str | Path, code: int = 0) -> Outcome:
    outcome = invoke("eval", *arguments)
    assert outcome.code == code, outcome.err
    return outcome


def responses(folder: Path) -> list[ResponseRow]:
    return list(read_evaluation(folder).responses)


def prompts_of(workspace: Workspace) -> Path:
    return workspace.folder / "prompts.jsonl"


# A run


def test_the_pairs_of_a_run_have_the_figures_of_its_last_evaluation(
    workspace: Workspace, evaluated: Outcome
) -> None:
    record = read_evaluation(workspace.output / "evaluation").record
    last = RunDirectory(workspace.output).read_metrics("eval")[-1]
    assert record.pairs is not None
    assert record.of.step == last["step"] == 4
    assert record.pairs.accuracy.value == pytest.approx(last["logps/accuracies"], abs=1e-6)
    assert record.pairs.logps_chosen is not None
    assert record.pairs.logps_chosen.value == pytest.approx(last["logps/chosen"], abs=1e-5)
    assert record.pairs.logps_rejected is not None
    assert record.pairs.logps_rejected.value == pytest.approx(last["logps/rejected"], abs=1e-5)
    assert record.pairs.log_odds is not None
    assert record.pairs.log_odds.value == pytest.approx(last["log_odds_chosen"], abs=1e-5)


def test_the_figures_follow_from_the_rows(workspace: Workspace, evaluated: Outcome) -> None:
    found = read_evaluation(workspace.output / "evaluation")
    assert found.record.pairs is not None
    assert found.record.pairs.count == len(found.pairs) == 6
    margins = [(row.chosen.logp or 0) - (row.rejected.logp or 0) for row in found.pairs]
    assert found.record.pairs.margin.value == pytest.approx(sum(margins) / 6)
    assert [row.prompt for row in found.pairs] == [f"{i} + {i + 1} =" for i in range(6)]
    assert sum(part.count for part in found.record.pairs.by_length) == 6
    assert [part.count for part in found.record.pairs.by_source] == [6]


def test_the_table_shows_figures_with_their_intervals(evaluated: Outcome) -> None:
    assert "accuracy  83.3 [43.6, 97.0] %" in evaluated.out
    assert "6 of 6 rows" in evaluated.out
    assert "responses" in evaluated.out
    assert "evaluation written to" in evaluated.err


def test_greedy_responses_are_those_of_plain_transformers(workspace: Workspace, evaluated: Outcome) -> None:
    folder = workspace.output / "model"
    model: Any = AutoModelForCausalLM.from_pretrained(folder)
    tokenizer: Any = AutoTokenizer.from_pretrained(folder)
    found = responses(workspace.output / "evaluation")
    assert [row.prompt_index for row in found] == list(range(6))
    for row in found:
        ids = torch.tensor([tokenizer(row.prompt)["input_ids"]])
        output = model.generate(input_ids=ids, max_new_tokens=8, do_sample=False)
        assert row.response == tokenizer.decode(output[0, ids.shape[1] :], skip_special_tokens=True)


def test_a_finished_evaluation_is_not_made_again(workspace: Workspace, evaluated: Outcome) -> None:
    file = workspace.output / "evaluation" / "responses.jsonl"
    before = file.stat().st_mtime_ns
    outcome = evaluate(workspace.output, "--max-new-tokens", "8")
    assert "evaluated already" in outcome.err
    assert file.stat().st_mtime_ns == before
    assert "83.3" in outcome.out


def test_other_settings_are_refused_unless_they_may_overwrite(workspace: Workspace, tmp_path: Path) -> None:
    common = (workspace.output, "--prompts", prompts_of(workspace), "--output", tmp_path, "--json")
    evaluate(*common, "--max-new-tokens", "3")
    outcome = evaluate(*common, "--max-new-tokens", "4", code=2)
    assert "settings.max_new_tokens  3 -> 4" in outcome.err
    record = json.loads(evaluate(*common, "--max-new-tokens", "4", "--overwrite").out)
    assert record["settings"]["max_new_tokens"] == 4


def test_nothing_else_is_overwritten(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all of it", encoding="utf-8")
    outcome = evaluate(workspace.output, "--output", tmp_path, "--overwrite", code=2)
    assert "already holds files, and no evaluation" in outcome.err
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


# Samples


@pytest.fixture(scope="module")
def sampled(workspace: Workspace) -> Path:
    output = workspace.folder / "sampled"
    evaluate(workspace.output, "--prompts", prompts_of(workspace), "--output", output, *SAMPLED)
    return output


def test_samples_differ_and_have_figures_of_diversity(sampled: Path) -> None:
    found = read_evaluation(sampled)
    assert [(row.prompt_index, row.sample) for row in found.responses] == [
        (prompt, sample) for prompt in range(7) for sample in range(3)
    ]
    assert len({row.response for row in found.responses}) > 15
    diversity = found.record.diversity
    assert diversity is not None
    assert not diversity.comparable_with_paper
    assert diversity.per_input.value < 0.9
    assert set(diversity.distinct_n) <= {"1", "2", "3"}


@pytest.mark.parametrize("size", ["1", "5"])
def test_the_batch_size_does_not_change_samples(
    workspace: Workspace, sampled: Path, tmp_path: Path, size: str
) -> None:
    common = (workspace.output, "--prompts", prompts_of(workspace), "--output", tmp_path, *SAMPLED)
    evaluate(*common, "--batch-size", size)
    assert responses(tmp_path) == responses(sampled)


def test_what_is_interrupted_goes_on_and_ends_the_same(
    workspace: Workspace, sampled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = (workspace.output, "--prompts", prompts_of(workspace), "--output", tmp_path, *SAMPLED)
    write = EvaluationDirectory.append_responses

    def write_and_be_interrupted(directory: EvaluationDirectory, rows: Any) -> None:
        write(directory, rows)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patched:
        patched.setattr(EvaluationDirectory, "append_responses", write_and_be_interrupted)
        outcome = evaluate(*common, "--batch-size", "4", code=75)
    assert "interrupted: Ctrl-C\nresume with: " in outcome.err
    assert read_evaluation(tmp_path).record.status == "unfinished"
    assert len(responses(tmp_path)) == 4
    with (tmp_path / "responses.jsonl").open("a") as file:
        file.write('{"prompt_index": 6, "sam')  # what a power cut leaves
    evaluate(*common, "--batch-size", "7")
    assert read_evaluation(tmp_path).record.status == "finished"
    assert responses(tmp_path) == responses(sampled)


def test_samples_at_temperature_0_are_refused(workspace: Workspace) -> None:
    outcome = evaluate(workspace.output, "--samples", "2", code=2)
    assert "would all be the same" in outcome.err


def test_the_first_samples_are_what_the_field_reads(workspace: Workspace, sampled: Path) -> None:
    rows = json.loads((sampled / "model_outputs.json").read_text())
    firsts = [row for row in responses(sampled) if row.sample == 0]
    assert read_system(sampled / "model_outputs.json").name == "run"
    assert rows == [
        {"instruction": prompt, "output": row.response, "generator": "run", "dataset": "sums"}
        for prompt, row in zip(PROMPTS, firsts, strict=True)
    ]


def test_a_new_embedder_needs_no_new_responses(workspace: Workspace, sampled: Path) -> None:
    written = (sampled / "responses.jsonl").stat().st_mtime_ns
    embedder = str(workspace.folder / "model")
    common = (workspace.output, "--prompts", prompts_of(workspace), "--output", sampled, *SAMPLED)
    record = json.loads(evaluate(*common, "--embedder", embedder).out)
    assert record["diversity"]["embedder"] == f"{embedder} (mean of the last hidden states)"
    assert (sampled / "responses.jsonl").stat().st_mtime_ns == written


# Other models


def test_any_model_is_evaluated_on_pairs_and_their_prompts(workspace: Workspace, tmp_path: Path) -> None:
    outcome = evaluate(
        *(workspace.folder / "model", "--pairs", workspace.folder / "eval.jsonl"),
        *("--output", tmp_path / "out", "--max-new-tokens", "3", "--max-prompts", "4", "--json"),
    )
    record = json.loads(outcome.out)
    first = RunDirectory(workspace.output).read_metrics("eval")[0]
    assert record["of"]["kind"] == "model"
    assert record["pairs"]["logps_chosen"]["value"] == pytest.approx(first["logps/chosen"], abs=1e-5)
    assert record["data"]["prompts"] | {"source": ""} == {
        "source": "",
        "read": 6,
        "count": 4,
        "dropped": {"over max_prompts": 2},
    }


def test_another_model_in_the_same_place_is_told_apart(tmp_path: Path) -> None:
    save_tiny_model(tmp_path / "model")
    common = ("--pairs", write_rows(tmp_path / "pairs.jsonl", 3), "--output", tmp_path / "out")
    evaluate(tmp_path / "model", *common, "--samples", "0")
    model: Any = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    with torch.no_grad():
        model.lm_head.weight.mul_(2)
    model.save_pretrained(tmp_path / "model")
    outcome = evaluate(tmp_path / "model", *common, "--samples", "0", code=2)
    assert "of.fingerprint" in outcome.err


def test_a_model_without_pairs_and_prompts_has_nothing_to_be_evaluated_on(
    workspace: Workspace, tmp_path: Path
) -> None:
    outcome = evaluate(workspace.folder / "model", "--output", tmp_path / "out", code=2)
    assert "nothing to evaluate model on" in outcome.err
    assert not (tmp_path / "out").exists()


def test_a_reward_model_is_assessed_and_generates_nothing(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    assert workspace.train("objective.name=reward", "training.max_steps=2").code == 0
    record = json.loads(evaluate(workspace.output, "--json").out)
    assert record["assessment"] == RunDirectory(workspace.output).read_summary()["assessment"]
    assert record["generation"] is None
    assert record["pairs"]["rewards_chosen"]["value"] - record["pairs"]["rewards_rejected"]["value"] == (
        pytest.approx(record["pairs"]["margin"]["value"])
    )
    assert not (workspace.output / "evaluation" / "responses.jsonl").exists()
    outcome = evaluate(workspace.output, "--prompts", "x.jsonl", "--overwrite", code=2)
    assert "a reward model generates nothing" in outcome.err


def test_an_adapter_and_a_fraction_held_out_are_what_they_were_in_training(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path)
    outcome = workspace.train("data.eval=0.25", "model.lora.r=2", "training.learning_rate=1e-2")
    assert outcome.code == 0, outcome.err
    record = json.loads(evaluate(workspace.output, "--max-new-tokens", "2", "--json").out)
    last = RunDirectory(workspace.output).read_metrics("eval")[-1]
    assert record["pairs"]["logps_chosen"]["value"] == pytest.approx(last["logps/chosen"], abs=1e-5)
    used = record["data"]["pairs"]
    assert used["read"] == used["count"] + sum(used["dropped"].values()) == 24
    assert used["dropped"] == {"trained on": 18}


# A server


def echo(asked: Asked) -> Answer:
    return Answer(f"answer to {asked.prompt}, seed {asked.body.get('seed')}")


def test_a_server_generates_and_what_it_lacked_is_asked_again(workspace: Workspace, tmp_path: Path) -> None:
    def failing(asked: Asked) -> Answer:
        return Answer(status=400, body=b"too long") if asked.prompt.startswith("3") else echo(asked)

    common = ("--model", "theirs", "--prompts", prompts_of(workspace), "--output", tmp_path / "out")
    sampling = ("--samples", "2", "--temperature", "1", "--max-new-tokens", "9", "--price", "1", "2")
    with judge_server(failing) as server:
        outcome = evaluate("--url", server.url, *common, *sampling, code=7)
        assert "2 responses are missing, 2 of them because: HTTP 400" in outcome.err
        assert len(server.asked) == 14
        assert {asked.body["max_tokens"] for asked in server.asked} == {9}
        server.script = echo
        record = json.loads(evaluate("--url", server.url, *common, *sampling, "--json").out)
        assert len(server.asked) == 16
    found = responses(tmp_path / "out")
    assert len({row.response for row in found}) == 14  # each has its own seed
    assert record["of"] | {"url": ""} == {
        **dict.fromkeys(["path", "step", "revision", "fingerprint"]),
        "kind": "server",
        "name": "theirs",
        "url": "",
    }
    assert record["generation"]["failed"] == 0
    assert record["generation"]["spent"]["cost"] == pytest.approx(14 * (100 * 1 + 10 * 2) / 1e6)


def test_a_limit_ends_the_asking_and_the_same_command_goes_on(workspace: Workspace, tmp_path: Path) -> None:
    common = ("--model", "m", "--prompts", prompts_of(workspace), "--output", tmp_path / "out")
    with judge_server(echo) as server:
        outcome = evaluate("--url", server.url, *common, "--max-requests", "3", code=75)
        assert "--max-requests 3 is reached" in outcome.err
        assert len(responses(tmp_path / "out")) == 3
        evaluate("--url", server.url, *common)
        assert len(server.asked) == 7
        assert all("seed" not in asked.body for asked in server.asked)
    assert [row.response for row in responses(tmp_path / "out")] == [
        f"answer to {prompt}, seed None" for prompt in PROMPTS
    ]


def test_who_is_evaluated_is_said_once(workspace: Workspace) -> None:
    assert "Add --url URL" in evaluate(workspace.output, "--model", "name", code=2).err
    assert "--url needs --model" in evaluate("--url", "http://localhost:1/v1", code=2).err
    unprompted = evaluate("--url", "http://localhost:1/v1", "--model", "m", code=2)
    assert "--prompts FILE" in unprompted.err


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["./nowhere"], 2, "no such folder"),
        (["MODEL", "--pairs", "nowhere.jsonl"], 2, "nowhere.jsonl"),
        (["MODEL", "--prompts", "nowhere.jsonl"], 3, "nowhere.jsonl"),
        (["MODEL", "--prompts", "PROMPTS", "--output", "PROMPTS"], 2, "is a file"),
        (["MODEL", "--prompts", "PROMPTS", "--max-new-tokens", "128"], 3, "can respond to none of 7 prompts"),
        (["MODEL", "--prompts", "PROMPTS", "--template", "nothing"], 2, "there is no template 'nothing'"),
        (["RUN", "--template", "chatml"], 2, "its own model and template"),
        (
            ["MODEL", "--samples", "2", "--temperature", "1", "--embedder", "./no", "--pairs", "PAIRS"],
            2,
            "no such folder: ./no",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_is_one_message(
    workspace: Workspace, arguments: list[str], code: int, says: str, tmp_path: Path
) -> None:
    places = {
        "MODEL": workspace.folder / "model",
        "RUN": workspace.output,
        "PROMPTS": prompts_of(workspace),
        "PAIRS": workspace.folder / "eval.jsonl",
    }
    outcome = evaluate(*(places.get(one, one) for one in arguments), code=code)
    *_, error = outcome.err.split("error: ")
    assert says in error
    assert not (tmp_path / "evaluations").exists()


def test_help_starts_fast() -> None:
    assert not modules_loaded_by("eval", "--help") & HEAVY_MODULES


@pytest.fixture(autouse=True)
def nowhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that no default output folder is made in the repository."""
    monkeypatch.chdir(tmp_path)
