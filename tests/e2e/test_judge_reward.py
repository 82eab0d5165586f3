"""`orpo judge --judge reward`: figures of a reward model, and whether they mean anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.commands import Outcome, invoke
from tests.reward import save_reward_model, values_by_transformers
from tests.unit.judging.reward.test_model import reward_run

CONFIG, DATA = 2, 3
PROMPTS = [f"{n} is what?" for n in range(40)]
NAMES = ("ours", "theirs", "others")


def responses(name: str) -> list[str]:
    """Different ones of equal length, so that length says nothing."""
    return [f" {name[:1]}{n:02}" for n in range(len(PROMPTS))]


@pytest.fixture
def outputs(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{name}.json" for name in NAMES]
    for path in paths:
        both = zip(PROMPTS, responses(path.stem), strict=True)
        path.write_text(
            json.dumps(
                [{"instruction": prompt, "output": text, "generator": path.stem} for prompt, text in both]
            )
        )
    return paths


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return save_reward_model(tmp_path / "reward")


def values(model: Path, name: str) -> list[float]:
    texts = [prompt + text + "</s>" for prompt, text in zip(PROMPTS, responses(name), strict=True)]
    return values_by_transformers(model, texts)


def held_out(model: Path, path: Path, *, right: bool) -> Path:
    """Pairs of which the model prefers the chosen response, or the other one."""
    rows = []
    for number, prompt in enumerate(PROMPTS):
        pair = [responses(name)[number] for name in ("ours", "theirs")]
        found = values_by_transformers(model, [prompt + text + "</s>" for text in pair])
        better, worse = pair if (found[0] > found[1]) == right else reversed(pair)
        rows.append({"prompt": prompt, "chosen": better, "rejected": worse})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def ask(paths: list[Path], model: Path, *more: str | Path) -> Outcome:
    folder = paths[0].parent / "judged"
    return invoke("judge", *paths, "--judge", "reward", "--model", model, "--output", folder, *more)


def record(outcome: Outcome) -> dict[str, Any]:
    assert outcome.code == 0, outcome.err
    return json.loads(outcome.out)


def test_the_higher_value_wins_and_margins_are_kept(outputs: list[Path], model: Path) -> None:
    found = record(ask(outputs[:2], model, "--json"))
    ours, theirs = values(model, "ours"), values(model, "theirs")
    (comparison,) = found["comparisons"]
    wins = sum(one > other for one, other in zip(ours, theirs, strict=True))
    assert (comparison["win_rate"]["wins"], comparison["win_rate"]["ties"]) == (wins, 0)
    assert comparison["position"] is None
    rows = json.loads((outputs[0].parent / "judged" / "ours-against-theirs.json").read_text())
    margins = [one - other for one, other in zip(ours, theirs, strict=True)]
    assert [row["margin"] for row in rows] == pytest.approx(margins, abs=1e-5)
    assert {row["annotator"] for row in rows} == {f"{model} (not known to be fit to judge)"}
    assert (found["reward_model"]["responses"], found["reward_model"]["cut"]) == (80, 0)


def test_of_a_model_without_a_record_it_is_said_that_nothing_is_known(
    outputs: list[Path], model: Path
) -> None:
    outcome = ask(outputs[:2], model)
    assert outcome.code == 0
    assert "not known to be fit to judge: measure it with --held-out PAIRS" in " ".join(outcome.out.split())
    assert outcome.err.splitlines()[-1].startswith("it is not known whether ")


def test_a_model_that_is_right_on_held_out_pairs_is_fit(
    outputs: list[Path], model: Path, tmp_path: Path
) -> None:
    pairs = held_out(model, tmp_path / "held_out.jsonl", right=True)
    found = record(ask(outputs, model, "--held-out", pairs, "--json"))
    assert found["reward_model"]["standing"] == "fit"
    assert found["reward_model"]["assessment"]["accuracy"]["rate"] == 1.0
    assert {one["judge"] for one in found["comparisons"]} == {str(model)}
    means = {name: sum(values(model, name)) for name in NAMES}
    assert {one["model"] for one in found["bradley_terry"]} == means.keys()
    outcome = ask(outputs, model, "--held-out", pairs)
    assert "UNFIT" not in outcome.out + outcome.err
    text = " ".join(outcome.out.split())
    assert f"{model}: fit to judge right on 100.0 %" in text


def test_a_model_that_is_wrong_is_unfit_and_its_figures_are_shown_all_the_same(
    outputs: list[Path], model: Path, tmp_path: Path
) -> None:
    pairs = held_out(model, tmp_path / "held_out.jsonl", right=False)
    outcome = ask(outputs[:2], model, "--held-out", pairs)
    text = " ".join(outcome.out.split())
    assert outcome.code == 0
    assert "UNFIT to judge: it does not beat chance, or the rule below" in text
    assert "judged by" in text
    assert "(UNFIT to judge)" in text
    assert "win rate" in text
    assert f"{model} is UNFIT to judge" in outcome.err.splitlines()[-1]
    (written,) = (tmp_path / "judged").iterdir()
    again = record(invoke("judge", "--annotations", written, "--json"))
    assert "UNFIT to judge" in again["comparisons"][0]["judge"]


def test_a_run_says_itself_whether_its_model_may_judge(outputs: list[Path], tmp_path: Path) -> None:
    run = reward_run(tmp_path, data={"template": "transcript"})
    summary = run / "summary.json"
    for fit, standing in ((True, "fit"), (False, "unfit")):
        content = json.loads(summary.read_text())
        content["assessment"]["fit_to_judge"] = fit
        summary.write_text(json.dumps(content))
        found = record(ask(outputs[:2], run, "--json"))
        assert found["reward_model"]["standing"] == standing
        assert found["reward_model"]["source"] == "the summary of the run judge"


def test_responses_without_text_lose_and_are_counted(tmp_path: Path, model: Path) -> None:
    paths = [tmp_path / "a.json", tmp_path / "b.json"]
    for path, texts in zip(paths, ([" a", ""], ["", "\n"]), strict=True):
        rows = [{"instruction": f"q{n}", "output": text} for n, text in enumerate(texts)]
        path.write_text(json.dumps(rows))
    found = record(ask(paths, model, "--json"))
    rate = found["comparisons"][0]["win_rate"]
    assert (rate["wins"], rate["ties"], rate["losses"]) == (1, 1, 0)
    assert found["reward_model"]["empty"] == 3


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--judge", "reward"], "--judge reward needs --model"),
        (["--judge", "reward", "--model", "x", "--url", "http://h"], "--judge reward does not take --url"),
        (["--judge", "program", "--command", "x", "--held-out", "y"], "does not take --held-out"),
        (["--judge", "reward", "--model", "./nothing"], "no such folder: ./nothing"),
    ],
)
def test_a_command_that_makes_no_sense_says_why(outputs: list[Path], more: list[str], says: str) -> None:
    outcome = invoke("judge", *outputs, *more)
    assert (outcome.code, outcome.out) == (CONFIG, "")
    assert says in outcome.err


def test_held_out_pairs_that_cannot_be_read_are_a_data_error(
    outputs: list[Path], model: Path, tmp_path: Path
) -> None:
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text('{"prompt": "a", "chosen": "b"}\n')
    outcome = ask(outputs[:2], model, "--held-out", pairs)
    assert outcome.code == DATA
    assert str(pairs) in outcome.err
