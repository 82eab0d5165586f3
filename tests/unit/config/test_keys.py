"""Descriptions of values and advice about unknown keys."""

from __future__ import annotations

import pytest

from orpo.config.keys import KEYS, explain_unknown, nearest


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("objective.lambda", "a number >= 0"),
        ("objective.definition", "`paper` or `trl`"),
        ("training.batch_size", "a whole number > 0"),
        ("training.learning_rate", "a number > 0 and <= 1"),
        ("training.max_tokens", "`auto` or a whole number > 0"),
        ("training.max_grad_norm", "a number > 0 or `null`"),
        ("training.shuffle", "`true` or `false`"),
        ("training.report_to", "a list of text"),
        ("model", "text (its `name`) or a mapping with keys such as `name`"),
        (
            "data.eval",
            "a number > 0 and < 1, text (its `path`), a mapping with keys such as `path`, a list of these "
            "or `null`",
        ),
    ],
)
def test_accepted_values_are_described_in_words(key: str, words: str) -> None:
    assert KEYS[key].expected == words


@pytest.mark.parametrize(
    ("name", "parent", "expected"),
    [
        ("learning_rate", "", ["training.learning_rate"]),
        ("learing_rate", "training", ["training.learning_rate"]),
        ("Learning-Rate", "training", ["training.learning_rate"]),
        ("lamda", "objective", ["objective.lambda"]),
        ("epoch", "training", ["training.epochs"]),
        ("modle", "", ["model"]),
        ("outptu", "", ["output"]),
        ("lora", "", ["model.lora"]),
        ("name", "", ["model.name", "objective.name"]),
        ("zzz", "", []),
    ],
)
def test_the_nearest_keys_are_found_in_the_whole_tree(name: str, parent: str, expected: list[str]) -> None:
    assert nearest(name, parent) == expected


def test_a_mapping_is_recognised_by_its_keys() -> None:
    assert nearest("train", "", frozenset({"learning_rate", "seed"})) == ["training"]
    assert nearest("peft", "", frozenset({"r", "alpha"})) == ["model.lora"]


def test_a_dotted_key_in_a_file_is_explained() -> None:
    assert "write `seed` under `training:`" in explain_unknown("training.seed", "").text


def test_without_a_near_key_those_of_the_section_are_listed() -> None:
    explained = explain_unknown("zzz", "objective")
    assert explained.text == (
        "the keys here are `name`, `definition`, `nll_turns`, `lambda`, `contrast`, "
        "`beta`, `label_smoothing`, `gamma_beta_ratio`, `desirable_weight`, `undesirable_weight`, "
        "`margin`, `center_rewards_coefficient`"
    )
    assert explained.meant is None
