"""The public surface: every key with its default. A change here is a change for every user's files."""

from __future__ import annotations

import dataclasses

import pytest
from pydantic import ValidationError
from pydantic_core import PydanticUndefined

from orpo.config import ModelSection, RunConfig, SourceSection
from orpo.config.keys import KEYS, fields_of
from orpo.objectives import OBJECTIVES

REQUIRED = PydanticUndefined

SURFACE = {
    "model.name": REQUIRED,
    "model.revision": None,
    "model.dtype": "float32",
    "model.random_init": False,
    "model.quantization": None,
    "model.lora.r": 16,
    "model.lora.alpha": 32.0,
    "model.lora.dropout": 0.0,
    "model.lora.target": "all-linear",
    "model.lora.rslora": False,
    "model.lora.dora": False,
    "model.lora.modules_to_save": (),
    "model.lora.merge": False,
    "data.train.path": REQUIRED,
    "data.train.config": None,
    "data.train.data_dir": None,
    "data.train.split": None,
    "data.train.revision": None,
    "data.train.columns.prompt": None,
    "data.train.columns.messages": None,
    "data.train.columns.system": None,
    "data.train.columns.chosen": None,
    "data.train.columns.rejected": None,
    "data.train.columns.response": None,
    "data.train.columns.label": None,
    "data.train.columns.responses": None,
    "data.train.columns.preferred": None,
    "data.train.columns.values": None,
    "data.train.columns.candidates": None,
    "data.train.columns.text": None,
    "data.train.columns.score": None,
    "data.train.columns.rank": None,
    "data.train.columns.weight": None,
    "data.train.columns.margin": None,
    "data.train.criterion": None,
    "data.train.policy": None,
    "data.train.min_margin": 0.0,
    "data.train.where": None,
    "data.train.weight": None,
    "data.train.max_rows": None,
    "data.eval.path": REQUIRED,
    "data.eval.config": None,
    "data.eval.data_dir": None,
    "data.eval.split": None,
    "data.eval.revision": None,
    "data.eval.columns.prompt": None,
    "data.eval.columns.messages": None,
    "data.eval.columns.system": None,
    "data.eval.columns.chosen": None,
    "data.eval.columns.rejected": None,
    "data.eval.columns.response": None,
    "data.eval.columns.label": None,
    "data.eval.columns.responses": None,
    "data.eval.columns.preferred": None,
    "data.eval.columns.values": None,
    "data.eval.columns.candidates": None,
    "data.eval.columns.text": None,
    "data.eval.columns.score": None,
    "data.eval.columns.rank": None,
    "data.eval.columns.weight": None,
    "data.eval.columns.margin": None,
    "data.eval.criterion": None,
    "data.eval.policy": None,
    "data.eval.min_margin": 0.0,
    "data.eval.where": None,
    "data.eval.weight": None,
    "data.eval.max_rows": None,
    "data.max_length": "auto",
    "data.truncation": "cut",
    "data.template": "auto",
    "data.cache": "auto",
    "data.workers": "auto",
    "objective.name": "orpo",
    "objective.definition": "paper",
    "objective.nll_turns": "final",
    "objective.lambda": 0.1,
    "objective.contrast": "odds",
    "objective.beta": 0.1,
    "objective.label_smoothing": 0.0,
    "objective.gamma_beta_ratio": 0.5,
    "objective.desirable_weight": 1.0,
    "objective.undesirable_weight": 1.0,
    "objective.margin": 0.0,
    "objective.center_rewards_coefficient": 0.0,
    "training.batch_size": 64,
    "training.max_tokens": "auto",
    "training.epochs": 1.0,
    "training.max_steps": None,
    "training.learning_rate": 8e-6,
    "training.schedule": "cosine",
    "training.warmup": 0.1,
    "training.weight_decay": 0.0,
    "training.optimizer": "adamw",
    "training.adam_beta1": 0.9,
    "training.adam_beta2": 0.999,
    "training.adam_epsilon": 1e-8,
    "training.router_loss": "auto",
    "training.max_grad_norm": 1.0,
    "training.max_skipped_steps": 0,
    "training.precision": "auto",
    "training.gradient_checkpointing": False,
    "training.parallel": "ddp",
    "training.cpu_offload": False,
    "training.compile": False,
    "training.layout": "auto",
    "training.seed": 42,
    "training.shuffle": True,
    "training.log_every": 10,
    "training.eval_every": None,
    "training.select": "last",
    "training.checkpoint_every": "auto",
    "training.keep_checkpoints": 2,
    "training.report_to": (),
    "output": REQUIRED,
}

OPTIONAL_SECTIONS = {
    "model.lora": None,
    "data.eval": None,
    "data.train.columns": None,
    "data.eval.columns": None,
}


def test_the_keys_and_defaults_are_exactly_these() -> None:
    leaves = {path: key.field.default for path, key in KEYS.items() if not key.sections}
    assert leaves == SURFACE


OBJECTIVE_KEYS = {
    "orpo": {"definition": "paper", "nll_turns": "final", "lambda": 0.1, "contrast": "odds"},
    "sft": {"definition": "paper", "nll_turns": "final"},
    "dpo": {"beta": 0.1, "label_smoothing": 0.0},
    "ipo": {"beta": 0.1},
    "simpo": {"beta": 2.0, "gamma_beta_ratio": 0.5},
    "kto": {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0},
    "reward": {"margin": 0.0, "center_rewards_coefficient": 0.0},
}


def test_each_objective_has_exactly_these_keys_and_defaults() -> None:
    found = {
        section.model_fields["name"].default: {
            name: field.default for name, field in fields_of(section).items() if name != "name"
        }
        for section in KEYS["objective"].sections
    }
    assert found == OBJECTIVE_KEYS


def test_every_objective_has_a_section_and_the_keys_are_its_coefficients() -> None:
    for name, objective in OBJECTIVES.items():
        coefficients = {field.name.rstrip("_"): field.default for field in dataclasses.fields(objective)}
        assert coefficients == OBJECTIVE_KEYS[name]


def test_absent_optional_sections_stay_absent() -> None:
    assert {path: KEYS[path].field.default for path in OPTIONAL_SECTIONS} == OPTIONAL_SECTIONS


@pytest.mark.parametrize("path", KEYS)
def test_every_field_has_a_docstring(path: str) -> None:
    assert KEYS[path].help, f"no docstring under the field of {path}"


def test_a_section_cannot_be_changed() -> None:
    with pytest.raises(ValidationError):
        ModelSection(name="a").name = "b"  # pyright: ignore[reportAttributeAccessIssue]


def test_plain_strings_are_short_forms_in_python_too() -> None:
    config = RunConfig.model_validate(
        {"model": "m", "data": {"train": "t", "eval": ["a", "b"]}, "output": "o"}
    )
    assert config.model == ModelSection(name="m")
    assert config.data.train == (SourceSection(path="t"),)
    assert config.data.eval == (SourceSection(path="a"), SourceSection(path="b"))


@pytest.mark.parametrize(
    ("warmup", "accepted"), [(0.0, True), (0.1, True), (1.0, True), (100.0, True), (1.5, False)]
)
def test_warmup_is_a_fraction_or_a_whole_number_of_steps(warmup: float, accepted: bool) -> None:
    values = {"model": "m", "data": {"train": "t"}, "output": "o", "training": {"warmup": warmup}}
    if accepted:
        assert RunConfig.model_validate(values).training.warmup == warmup
    else:
        with pytest.raises(ValidationError, match="fraction below 1 or a whole number"):
            RunConfig.model_validate(values)


def source(**options: object) -> SourceSection:
    return SourceSection.model_validate({"path": "a.jsonl", **options})


def test_columns_hold_names_and_what_labels_mean() -> None:
    columns = source(
        columns={"prompt": "q", "responses": ["a", "b"], "preferred": "l", "values": {"1": 0, "2": "tie"}}
    ).columns
    assert columns is not None
    assert columns.responses == ["a", "b"]
    assert columns.values == {"1": 0, "2": "tie"}


@pytest.mark.parametrize("meaning", [2, True, "first", None, [0], 0.0])
def test_a_label_means_the_first_the_second_or_a_tie(meaning: object) -> None:
    with pytest.raises(ValidationError, match="expected 0, 1 or tie for each label"):
        source(columns={"values": {"1": meaning}})


@pytest.mark.parametrize("condition", [None, {"a": 1}, [[1]]])
def test_a_condition_is_made_of_values(condition: object) -> None:
    assert source(where={"a": "!= tie", "b": [1, "2"], "c": True}).where
    with pytest.raises(ValidationError, match="expected a value, a list of values or a comparison for a"):
        source(where={"a": condition})
