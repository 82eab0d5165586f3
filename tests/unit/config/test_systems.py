"""From the file of a comparison to the configurations of its runs."""

from __future__ import annotations

from pathlib import Path

import pytest

from orpo.config import load_config
from orpo.config.compare import CompareConfig
from orpo.config.keys import keys_of
from orpo.config.systems import LoadedComparison, load_comparison
from orpo.errors import ConfigError

TEXT = """\
model: base
data:
  train: train.jsonl
  eval: eval.jsonl
training:
  batch_size: 8
  learning_rate: 1e-4
output: compared
compare:
  budget: 64
  seeds: [1, 2]
  systems:
    - name: sft
      objective: {name: sft}
    - name: orpo
      objective:
        lambda: [0.1, 1.0]
      training: {learning_rate: 2e-4}
    - name: dpo
      after: sft
      objective: {name: dpo, beta: 0.2}
  judge:
    data: {train: judge.jsonl}
    training: {epochs: 2}
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "compare.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def load(file: Path, *overrides: str) -> LoadedComparison:
    return load_comparison(file, overrides)


def refusal(file: Path, *overrides: str) -> str:
    with pytest.raises(ConfigError) as raised:
        load(file, *overrides)
    return raised.value.message


def test_a_list_of_values_is_a_system_of_each(file: Path) -> None:
    assert [one.name for one in load(file).systems] == ["sft", "orpo-lambda-0.1", "orpo-lambda-1.0", "dpo"]
    crossed = load(file, "compare.systems.1.training.learning_rate=[1e-3, 2e-3]").systems
    assert [one.name for one in crossed[1:3]] == [
        "orpo-lambda-0.1-learning_rate-0.001",
        "orpo-lambda-0.1-learning_rate-0.002",
    ]


def test_a_system_has_its_own_values_and_those_of_the_file(file: Path) -> None:
    sft, orpo, _, dpo = (one.configured({}).config for one in load(file).systems)
    assert (sft.objective.name, orpo.objective.name, dpo.objective.name) == ("sft", "orpo", "dpo")
    assert (sft.training.learning_rate, orpo.training.learning_rate) == (1e-4, 2e-4)
    assert {one.training.batch_size for one in (sft, orpo, dpo)} == {8}


def test_values_keep_the_line_that_they_come_from(file: Path) -> None:
    _, orpo, *_ = load(file, "training.batch_size=4").systems
    provenance = orpo.configured({"training.seed": 2}).provenance
    assert provenance["training.learning_rate"] == f"{file}:18"
    assert provenance["objective.lambda"] == f"{file}:17"
    assert provenance["training.batch_size"] == "command line"
    assert provenance["training.seed"] == "compare.seeds"


def test_a_judge_is_a_reward_model_on_data_of_its_own(file: Path) -> None:
    loaded = load(file)
    assert loaded.judge is not None
    from orpo.config.systems import configured

    judge = configured(loaded.judge, {}).config
    assert isinstance(judge.data.eval, tuple)
    assert (judge.objective.name, judge.data.train[0].path) == ("reward", "judge.jsonl")
    assert (judge.data.eval[0].path, judge.training.epochs) == ("eval.jsonl", 2)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["compare.systems.2.after=nobody"], ":19: `after`: there is no system `nobody`"),
        (
            ["compare.systems.2.name=sft", "compare.systems.2.after=null"],
            ":19: two systems are called `sft`",
        ),
        (["compare.systems.2.name=base"], "not `base`"),
        (["compare.systems.2.name=a/b"], "a name of letters"),
        (["compare.seeds=[3, 3]"], "a seed is given twice"),
        (["compare.systems.0.training={seed: 1}"], "`training.seed` is decided by `compare.seeds`"),
        (["training.max_steps=3"], "`training.max_steps` is decided by `compare.budget`"),
        (["data.eval=0.1"], "`data.eval`: expected a source"),
        (["model.random_init=true"], "`model.random_init`: a comparison starts from one model"),
        (["compare.judge.model=somebody"], ": `compare.judge`: expected `model`"),
        (["compare.systems.0.objective.name=reward"], ":13: `objective.name`: reward trains a judge"),
        (["compare.systems.0.objective.lambda=0.1"], "`objective.lambda` is a key of `orpo`"),
        (["compare.systems.0.training={learning_rat: 1}"], "did you mean `training.learning_rate`?"),
        (["compare.budgt=3"], "did you mean `compare.budget`?"),
        (["compare.systems=[]"], "`compare.systems`"),
    ],
)
def test_mistakes_are_told_with_their_place(file: Path, overrides: list[str], message: str) -> None:
    assert message in refusal(file, *overrides)


def test_a_mistake_in_a_system_with_several_values_is_told_once(file: Path) -> None:
    assert refusal(file, "compare.systems.1.after=nobody").count("there is no system") == 1


def test_two_phases_are_all_there_are(file: Path) -> None:
    message = refusal(file, "compare.systems.1.after=dpo")
    assert "`dpo` itself starts from `sft`" in message


def test_a_run_does_not_take_a_comparison(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"compare.yaml:9: unknown key `compare`: .* `orpo compare`"):
        load_config(file)


SURFACE = {
    "compare",
    "compare.budget",
    "compare.seeds",
    "compare.systems",
    "compare.systems.name",
    "compare.systems.after",
    "compare.systems.objective",
    "compare.systems.training",
    "compare.evaluation",
    "compare.evaluation.prompts",
    "compare.evaluation.max_prompts",
    "compare.evaluation.samples",
    "compare.evaluation.temperature",
    "compare.evaluation.max_new_tokens",
    "compare.evaluation.embedder",
    "compare.judge",
    "compare.judge.model",
    "compare.judge.data",
    "compare.judge.training",
    "compare.judge.objective",
}


def test_the_section_has_these_keys_each_with_its_meaning() -> None:
    keys = {path: key for path, key in keys_of(CompareConfig).items() if path.startswith("compare")}
    assert keys.keys() == SURFACE
    assert all(key.help for key in keys.values())
